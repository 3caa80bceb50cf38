import { InvalidArgumentError } from "commander";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { oneOf, qemuName, wholeNumber } from "./options.ts";

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
