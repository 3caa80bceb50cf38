import fc from "fast-check";
import { expect, test } from "vitest";
import { PAGE_BYTES } from "../../base/page.ts";
import { LastFound } from "./last-found.ts";

const PAGES = 40;
const BLOCKS = [
  { name: "ram0", bytes: PAGES * PAGE_BYTES },
  { name: "pc.bios", bytes: PAGES * PAGE_BYTES },
];

test("a page counts once, by the last look that found it", () => {
  const run = fc.record({
    block: fc.constantFrom("ram0", "pc.bios", "nowhere"),
    first: fc.nat({ max: PAGES - 1 }),
    count: fc.integer({ min: 1, max: 5 }),
  });
  const looks = fc.array(fc.record({ passed_ms: fc.nat({ max: 3 }), runs: fc.array(run) }));
  fc.assert(
    fc.property(looks, fc.nat({ max: 20 }), (all, from_ms) => {
      const found = new LastFound(BLOCKS);
      const expected = new Set<string>();
      let [now_ms, before_ms] = [0, Number.NEGATIVE_INFINITY];
      for (const { passed_ms, runs } of all) {
        now_ms += passed_ms;
        found.found(runs, now_ms);
        for (const { block, first, count } of runs)
          for (let page = first; page < Math.min(first + count, PAGES); page += 1)
            if (before_ms >= from_ms && block !== "nowhere") expected.add(`${block}:${page}`);
        before_ms = now_ms;
      }
      expect(found.since(from_ms)).toBe(expected.size);
    }),
  );
});

test("after more looks than can be told apart it begins anew", () => {
  const found = new LastFound(BLOCKS);
  for (let look = 0; look < 2 ** 16 + 10; look += 1) found.found([{ block: "ram0", first: look % 7, count: 1 }], look);
  expect(found.since(0)).toBe(7);
  expect(found.since(2 ** 16 + 7)).toBe(2);
  expect(found.since(2 ** 17)).toBe(0);
});
