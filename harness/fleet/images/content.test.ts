import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { UserError } from "../../base/errors.ts";
import { contentHash, packageList } from "./content.ts";
import { builderRecipe, debianTag, QEMU_RECIPES } from "./debian.ts";
import { splitTag } from "./docker.ts";
import { readFindings } from "./qemu-image.ts";

describe("what goes into an image", () => {
  it("has one hash per list of parts, however the parts are cut", () => {
    const parts = fc.array(fc.string({ maxLength: 4 }), { maxLength: 4 });
    fc.assert(
      fc.property(parts, parts, (one, other) => {
        expect(contentHash(one) === contentHash(other)).toBe(JSON.stringify(one) === JSON.stringify(other));
      }),
    );
    expect(contentHash(["ab", "c"])).not.toBe(contentHash(["a", "bc"]));
  });

  it("has another tag for every QEMU and for the builder", () => {
    const tags = [...Object.values(QEMU_RECIPES), builderRecipe()].map(debianTag);
    expect(new Set(tags).size).toBe(4);
    for (const tag of tags) expect(tag).toMatch(/^ferryman\/[a-z0-9.-]+:[0-9a-f]{12}$/);
  });

  it("reads package lists without their comments", () => {
    expect(packageList("# why\ngcc\n\n make # what for\n")).toEqual(["gcc", "make"]);
  });

  it("splits a tag at its last colon: a registry may have a port", () => {
    expect(splitTag("localhost:5000/qemu:11")).toEqual({ repo: "localhost:5000/qemu", tag: "11" });
  });
});

describe("findings in a user's image", () => {
  const good = "path=/usr/libexec/qemu-kvm\nQEMU emulator version 9.1.0 (qemu-kvm-9.1.0-15.el9)\n";

  it("are QEMU's path and version", () => {
    expect(readFindings("mine", good)).toEqual({
      path: "/usr/libexec/qemu-kvm",
      version: "9.1.0 (qemu-kvm-9.1.0-15.el9)",
    });
  });

  it.each([
    ["", /must contain qemu-system-x86_64/],
    ["path=/usr/bin/qemu-system-x86_64\nlibaio.so.1: cannot open shared object file\nfailed=127", /libaio\.so\.1/],
    [`missing=dd\nmissing=sleep\n${good}`, /must contain dd, sleep in PATH/],
  ])("that lack something are one sentence: %j", (output, sentence) => {
    expect(() => readFindings("mine", output)).toThrow(UserError);
    expect(() => readFindings("mine", output)).toThrow(sentence);
  });
});
