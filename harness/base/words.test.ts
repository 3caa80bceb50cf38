import { execFileSync } from "node:child_process";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { UserError } from "./errors.ts";
import { quoteWord, splitWords } from "./words.ts";

describe("words of a line", () => {
  it.each([
    ["", []],
    ["  -device  virtio-net-pci ", ["-device", "virtio-net-pci"]],
    [`-append "a b" 'c "d"'`, ["-append", "a b", 'c "d"']],
    [`a"b c"'d' e\\ f`, ["ab cd", "e f"]],
    [`"" ''`, ["", ""]],
  ])("of %j are %j", (line, words) => {
    expect(splitWords(line)).toEqual(words);
  });

  it("are found again however they were quoted", () => {
    fc.assert(
      fc.property(fc.array(fc.string()), (words) => {
        expect(splitWords(words.map(quoteWord).join(" "))).toEqual(words);
      }),
    );
  });

  it("are to a shell what they are here", () => {
    const words = ["it's", 'a "b"', "$HOME", "c\\d", "", "*", "e f"];
    const said = execFileSync("/bin/sh", ["-c", `printf '%s\\n' ${words.map(quoteWord).join(" ")}`], {
      encoding: "utf8",
    });
    expect(said).toBe(`${words.join("\n")}\n`);
  });

  it.each(['"a', "a 'b", "a\\"])("are not had of %j", (line) => {
    expect(() => splitWords(line)).toThrow(UserError);
  });
});
