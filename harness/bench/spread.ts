import { quantileSorted } from "d3-array";

/** What is said of one figure over the runs that have it: how many, the middle, and how far they lie apart. */
export interface Spread {
  readonly count: number;
  readonly min: number;
  readonly median: number;
  readonly max: number;
  /** Every value, in the order in which the runs were. */
  readonly values: readonly number[];
}

/** Quantile `share` (0 to 1), by linear interpolation between the nearest ranks; undefined when there is nothing. */
export function quantileOf(values: readonly number[], share: number): number | undefined {
  return quantileSorted(
    [...values].sort((a, b) => a - b),
    share,
  );
}

/** Undefined when there is nothing. */
export function spreadOf(values: readonly number[]): Spread | undefined {
  const [min, median, max] = [quantileOf(values, 0), quantileOf(values, 0.5), quantileOf(values, 1)];
  if (min === undefined || median === undefined || max === undefined) return undefined;
  return { count: values.length, min, median, max, values: [...values] };
}

/** Each value over that of its partner; a pair without one of the two, or over nothing, is left out. */
export function ratiosOf(pairs: readonly (readonly [number | undefined, number | undefined])[]): number[] {
  return pairs.flatMap(([value, partner]) =>
    value === undefined || partner === undefined || partner <= 0 ? [] : [value / partner],
  );
}
