import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { PAGE_BYTES } from "../../base/page.ts";
import { PageMap, pagesOf } from "./page-map.ts";

const BLOCKS = [
  { name: "ram0", bytes: 9 * PAGE_BYTES },
  { name: "pc.bios", bytes: 2 * PAGE_BYTES + 1 },
  { name: "empty", bytes: 0 },
];
const PAGES: Readonly<Record<string, number>> = { ram0: 9, "pc.bios": 3, empty: 0, nowhere: 0 };
const NAMES = Object.keys(PAGES);

/** The same with a set of names: slow and plain. */
class Model {
  readonly #have = new Set<string>();

  has = (block: string, page: number): boolean => this.#have.has(`${block}:${page}`);
  add = (block: string, page: number): void => void this.#have.add(`${block}:${page}`);
  remove = (block: string, page: number): void => void this.#have.delete(`${block}:${page}`);

  get count(): number {
    return this.#have.size;
  }

  missing(block: string): number[] {
    return Array.from({ length: PAGES[block] ?? 0 }, (_, page) => page).filter((page) => !this.has(block, page));
  }
}

const steps = fc.array(
  fc.record({
    do: fc.constantFrom("add" as const, "add" as const, "remove" as const),
    block: fc.constantFrom(...NAMES),
    page: fc.oneof(fc.integer({ min: -2, max: 10 }), fc.constantFrom(0.5, Number.NaN, Number.POSITIVE_INFINITY)),
  }),
  { maxLength: 60 },
);

describe("a page map", () => {
  it("is the same as a naive one, whatever is added, taken back and asked", () => {
    fc.assert(
      fc.property(steps, (all) => {
        const map = new PageMap(BLOCKS);
        const model = new Model();
        for (const step of all) {
          const { block, page } = step;
          const exists = Number.isInteger(page) && page >= 0 && page < (PAGES[block] ?? 0);
          expect(map.knows(block, page)).toBe(exists);
          if (!exists) {
            expect(() => map[step.do](block, page)).toThrow(RangeError);
            expect(map.has(block, page)).toBe(false);
          } else if (step.do === "add") {
            expect(map.add(block, page)).toBe(!model.has(block, page));
            model.add(block, page);
          } else {
            map.remove(block, page);
            model.remove(block, page);
          }
          expect(map.count).toBe(model.count);
          expect(map.complete).toBe(model.count === 12);
          for (const name of NAMES) {
            const missing = model.missing(name);
            expect(map.missing(name)).toBe(missing.length);
            for (let from = -2; from < 12; from += 1) {
              expect(map.firstMissing(name, from)).toBe(missing.find((at) => at >= from) ?? -1);
              expect(map.lastMissing(name, from)).toBe(missing.findLast((at) => at <= from) ?? -1);
            }
            expect(map.firstMissing(name)).toBe(missing[0] ?? -1);
            expect(map.lastMissing(name)).toBe(missing.at(-1) ?? -1);
            for (const at of missing) expect(map.has(name, at)).toBe(false);
          }
        }
      }),
    );
  });

  it("counts a part of a page as a page, and is complete where there is nothing", () => {
    expect([0, 1, PAGE_BYTES, PAGE_BYTES + 1].map(pagesOf)).toEqual([0, 1, 1, 2]);
    expect(new PageMap(BLOCKS).pages_total).toBe(12);
    expect(new PageMap([]).complete).toBe(true);
  });

  it("lacks a page again that is taken back, and counts it so, once", () => {
    const map = new PageMap([{ name: "taken", bytes: 4 * 4096 }]);
    map.addAll();
    expect([map.complete, map.count]).toEqual([true, 4]);
    map.remove("taken", 2);
    map.remove("taken", 2);
    expect([map.complete, map.count, map.missing("taken"), map.has("taken", 2)]).toEqual([false, 3, 1, false]);
    expect([map.firstMissing("taken"), map.lastMissing("taken")]).toEqual([2, 2]);
    expect(map.add("taken", 2)).toBe(true);
    expect(map.complete).toBe(true);
  });
});
