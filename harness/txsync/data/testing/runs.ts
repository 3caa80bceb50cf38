import fc from "fast-check";
import type { PackedPages } from "../kept-package.ts";
import { packPages, type Runs, unpackRuns } from "../page-runs.ts";

export function packRuns(runs: Runs): Buffer {
  const [last = 0, count = 0] = runs.at(-1) ?? [];
  const pages = new Uint8Array(last + count);
  for (const [first, length] of runs) pages.fill(1, first, first + length);
  return packPages(pages);
}

/** Pages by block, as a package has them. */
export function packed(runs: Readonly<Record<string, Runs>>): PackedPages {
  return Object.fromEntries(Object.entries(runs).map(([block, of]) => [block, packRuns(of)]));
}

/** And as they can be looked at. */
export function unpacked(pages: PackedPages): Record<string, [number, number][]> {
  return Object.fromEntries(Object.entries(pages).map(([block, of]) => [block, [...unpackRuns(of)]]));
}

/** Runs of pages as they are found: in order, with room between. */
export const orderedRuns: fc.Arbitrary<[number, number][]> = fc
  .array(fc.tuple(fc.integer({ min: 1, max: 5_000 }), fc.integer({ min: 1, max: 300 })), { maxLength: 300 })
  .map((steps) => {
    let end = -1;
    return steps.map(([gap, length]): [number, number] => {
      const first = end + gap;
      end = first + length;
      return [first, length];
    });
  });
