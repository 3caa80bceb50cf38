import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { quantileOf, ratiosOf, spreadOf } from "./spread.ts";

// Which zero stands first is nobody's matter.
const value = fc.double({ min: -1e9, max: 1e9, noNaN: true }).map((one) => one + 0);
const values = fc.array(value, { minLength: 1, maxLength: 60 });

describe("spread", () => {
  it("is nothing of nothing", () => {
    expect(spreadOf([])).toBeUndefined();
    expect(quantileOf([], 0.5)).toBeUndefined();
  });

  it("has least, median and greatest in this order, whatever order the values are in", () => {
    fc.assert(
      fc.property(values, (all) => {
        const spread = spreadOf(all);
        expect(spread).toMatchObject({ count: all.length, min: Math.min(...all), max: Math.max(...all), values: all });
        const { min = 0, median = 0, max = 0 } = spread ?? {};
        expect(median).toBeGreaterThanOrEqual(min);
        expect(median).toBeLessThanOrEqual(max);
        expect(spreadOf(all.toReversed())).toMatchObject({ min, median, max });
      }),
    );
  });

  it("has as many values below its median as above", () => {
    fc.assert(
      fc.property(values, (all) => {
        const median = spreadOf(all)?.median ?? 0;
        const half = all.length / 2;
        expect(all.filter((one) => one < median).length).toBeLessThanOrEqual(half);
        expect(all.filter((one) => one > median).length).toBeLessThanOrEqual(half);
      }),
    );
  });

  it("a quantile grows with its share, and changes nothing of what it is made from", () => {
    fc.assert(
      fc.property(
        values,
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (all, a, b) => {
          const before = [...all];
          const [low = 0, high = 0] = [quantileOf(all, Math.min(a, b)), quantileOf(all, Math.max(a, b))];
          expect(low).toBeLessThanOrEqual(high + Math.abs(high) * 1e-9 + 1e-9);
          expect(all).toEqual(before);
        },
      ),
    );
  });

  it("a value that lies far out moves the median by no more than one neighbour", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 1_000 }), { minLength: 3, maxLength: 31 }), (all) => {
        expect(spreadOf([...all, 1e12])?.median).toBeLessThanOrEqual(Math.max(...all));
      }),
    );
  });
});

describe("ratios", () => {
  it("are one for each whole pair, and the same for both in other units", () => {
    const positive = fc.double({ min: 1e-3, max: 1e6, noNaN: true });
    const side = fc.option(positive, { nil: undefined });
    fc.assert(
      fc.property(fc.array(fc.tuple(side, side)), positive, (pairs, unit) => {
        const ratios = ratiosOf(pairs);
        const whole = pairs.filter(([a, b]) => a !== undefined && b !== undefined);
        expect(ratios).toHaveLength(whole.length);
        const scaled = ratiosOf(whole.map(([a = 0, b = 0]) => [a * unit, b * unit] as const));
        for (const [index, ratio] of scaled.entries())
          expect(Math.abs(ratio / (ratios[index] ?? 0) - 1)).toBeLessThan(1e-9);
      }),
    );
  });

  it("leave out what would be over nothing", () => {
    expect(
      ratiosOf([
        [1, 0],
        [4, 2],
      ]),
    ).toEqual([2]);
  });
});
