import fc from "fast-check";
import { expect, it } from "vitest";
import { quoted, wordsOf } from "./words.ts";

it("words that were quoted are those words again", () => {
  const word = fc.string({ minLength: 1, unit: "binary" }).filter((text) => text.trim() !== "");
  fc.assert(
    fc.property(fc.array(word), (words) => {
      expect(wordsOf(words.map(quoted).join(" "))).toEqual(words);
    }),
  );
});

it("plain words stay as they are", () => {
  expect(["no-fault", "./my.scenario.ts", "kill-host:target@pages=30%"].map(quoted)).toEqual([
    "no-fault",
    "./my.scenario.ts",
    "kill-host:target@pages=30%",
  ]);
  expect(quoted("detect <= 600ms")).toBe("'detect <= 600ms'");
});
