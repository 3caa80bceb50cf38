import fc from "fast-check";
import { expect, test } from "vitest";
import { Left } from "./left.ts";

test("a guest that wrote its memory again before switchover has more left, and is under way as soon as that gets less", () => {
  const left = new Left();
  const said = [264, 15, 30, 250, 243, 243, 236].map((bytes, at) => left.said(bytes, at));
  expect(said).toEqual([true, true, false, false, true, false, true]);
  expect(left.at_ms).toBe(6);
});

test("what does not get less does not move, whatever was said before", () => {
  const bytes = fc.array(fc.nat({ max: 1_000 }), { minLength: 1 });
  fc.assert(
    fc.property(bytes, fc.array(fc.nat({ max: 5 })), (before, more) => {
      const left = new Left();
      for (const [at, one] of before.entries()) left.said(one, at);
      const { at_ms } = left;
      let last = before.at(-1) ?? 0;
      for (const each of more) {
        last += each;
        expect(left.said(last, 1_000)).toBe(false);
      }
      expect(left.at_ms).toBe(at_ms);
    }),
  );
});
