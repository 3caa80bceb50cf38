import { InvalidArgumentError } from "commander";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { UserError } from "../base/errors.ts";
import { oneOf, qemuName, wholeNumber } from "./options.ts";
import { checkMemory } from "./prepare.ts";

describe("a whole number on the command line", () => {
  it("is read as it is written, from the least on", () => {
    fc.assert(
      fc.property(fc.nat(100), fc.maxSafeInteger(), (least, value) => {
        const read = (): number => wholeNumber(least)(String(value));
        if (value >= least) expect(read()).toBe(value);
        else expect(read).toThrow(InvalidArgumentError);
      }),
    );
  });

  it("has a most where there is one", () => {
    expect(wholeNumber(0, 5)("5")).toBe(5);
    expect(() => wholeNumber(0, 5)("6")).toThrow(/from 0 to 5/);
  });

  it.each(["", " ", "abc", "1.5", "1e999", "NaN", "Infinity", "12x", "9007199254740993", "-1", "0x10", "1e3", "+5"])(
    "is not %j",
    (text) => {
      expect(() => wholeNumber(0)(text)).toThrow(InvalidArgumentError);
    },
  );
});

describe("a word on the command line", () => {
  it("is one of those there are, exactly", () => {
    const read = oneOf("stock", "txsync");
    expect(read("stock")).toBe("stock");
    for (const text of ["", "Stock", "stock ", "constructor"]) expect(() => read(text)).toThrow(InvalidArgumentError);
  });
});

describe("the name of a QEMU on the command line", () => {
  it.each(["10.0", "my/qemu", "localhost:5000/my/qemu:11.1-Rc2", `qemu@sha256:${"0".repeat(64)}`])(
    "may be %s",
    (text) => {
      expect(qemuName(text)).toBe(text);
    },
  );

  it("is nothing that no image could be called", () => {
    for (const text of ["", " ", "bad name!", "../x", "-x", "a\nb", "Upper", "a//b", "a/", "a:"]) {
      expect(() => qemuName(text), JSON.stringify(text)).toThrow(InvalidArgumentError);
    }
  });
});

describe("the look at the machine's memory", () => {
  it("lets a small run pass and refuses one that no machine can hold, in a sentence that says what to do", () => {
    expect(() => checkMemory(1024, 0)).not.toThrow();
    const refused = (): void => checkMemory(1024 ** 5, 1);
    expect(refused).toThrow(UserError);
    expect(refused).toThrow(/1 run\(s\) at a time with a guest of 1073741824 MiB need .*--memory or --jobs/);
  });

  it("refuses the more runs at a time the sooner it refuses one", () => {
    const passes = (memory_bytes: number, jobs: number): boolean => {
      try {
        checkMemory(memory_bytes, jobs);
        return true;
      } catch {
        return false;
      }
    };
    fc.assert(
      fc.property(fc.nat(64), fc.integer({ min: 1, max: 64 }), (gib, jobs) => {
        if (!passes(gib * 1024 ** 3, jobs)) expect(passes(2 * gib * 1024 ** 3 + 1024 ** 4, jobs)).toBe(false);
      }),
    );
  });
});
