import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { LIMITED_NAMES } from "../checks/limits.ts";
import { parseExpect, printExpect } from "./expect-grammar.ts";

describe("an expectation as it is typed", () => {
  it("is what was printed", () => {
    const limit = fc.record({ of: fc.constantFrom(...LIMITED_NAMES), most: fc.nat(1_000_000) });
    const verdict = fc.constantFrom("intact", "lost", "corrupt", "split-brain", "unknown");
    fc.assert(
      fc.property(fc.record({ verdict, limits: fc.array(limit) }), (said) => {
        expect(parseExpect(printExpect(said))).toEqual(said);
      }),
    );
  });

  it("takes blanks as they come", () => {
    expect(parseExpect(" intact,stillness<=2s , detect  <= 600ms")).toEqual({
      verdict: "intact",
      limits: [
        { of: "stillness", most: 2_000 },
        { of: "detect", most: 600 },
      ],
    });
  });

  it("takes the words that reports have for a limit", () => {
    expect(parseExpect("intact, longest stillness <= 2 s, detect <= 600 ms")).toEqual(
      parseExpect("intact, stillness <= 2s, detect <= 600ms"),
    );
  });

  it.each([
    ["fine", /a verdict is one of intact, lost/],
    ["intact detect <= 1s", /a comma and a limit/],
    ["intact, longest detect <= 1s", /what has a limit is one of stillness/],
    ["intact, beauty <= 1s", /what has a limit is one of stillness/],
    ["intact, detect < 1s", /"<=" is needed/],
    ["intact, detect <= 1", /a time with its unit/],
    ["intact, lost-steps <= 1s", /a comma and a limit|nothing more/],
  ])("%j is refused", (text, why) => {
    expect(() => parseExpect(text)).toThrow(why);
  });
});
