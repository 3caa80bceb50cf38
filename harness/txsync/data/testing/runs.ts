import fc from "fast-check";
import type { PackedRuns } from "../kept-package.ts";
import { packRuns, type Runs, unpackRuns } from "../packed-runs.ts";

/** Runs of pages by block, as a package has them. */
export function packed(runs: Readonly<Record<string, Runs>>): PackedRuns {
  return Object.fromEntries(Object.entries(runs).map(([block, of]) => [block, packRuns(of)]));
}

/** And as they can be looked at. */
export function unpacked(runs: PackedRuns): Record<string, [number, number][]> {
  return Object.fromEntries(Object.entries(runs).map(([block, of]) => [block, [...unpackRuns(of)]]));
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
