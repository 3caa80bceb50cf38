import { InvalidArgumentError } from "commander";
import { expect, it } from "vitest";
import { minutes, wholeNumber } from "./arguments.ts";

it("numbers on a command line are numbers, and have an end", () => {
  expect(["0", "17", "1e3"].map(wholeNumber)).toEqual([0, 17, 1000]);
  expect(["0.5", "3"].map(minutes)).toEqual([0.5, 3]);
  for (const text of ["", " ", "-1", "1.5", "x", "Infinity", "9007199254740992"])
    expect(() => wholeNumber(text), text).toThrow(InvalidArgumentError);
  for (const text of ["", " ", "0", "-1", "x", "Infinity", "1e999"])
    expect(() => minutes(text), text).toThrow(InvalidArgumentError);
});
