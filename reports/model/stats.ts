/** Quantile `p` (0 to 1) by linear interpolation between the two nearest ranks; undefined when there is nothing. */
export function quantile(values: readonly number[], p: number): number | undefined {
  if (values.length === 0) return undefined;
  const sorted = Float64Array.from(values).sort();
  const rank = Math.min(1, Math.max(0, p)) * (sorted.length - 1);
  const below = sorted[Math.floor(rank)] ?? Number.NaN;
  const above = sorted[Math.ceil(rank)] ?? below;
  const part = rank - Math.floor(rank);
  // Rounding must not carry the value past its neighbour.
  return part === 0 ? below : Math.min(above, below + (above - below) * part);
}

/** What a table says about a set of measurements. */
export interface Spread {
  readonly count: number;
  readonly min: number;
  readonly median: number;
  readonly p90: number;
  readonly max: number;
}

/** Count, least, median, 90th percentile and greatest; undefined when there is nothing. */
export function spreadOf(values: readonly number[]): Spread | undefined {
  const min = quantile(values, 0);
  const median = quantile(values, 0.5);
  const p90 = quantile(values, 0.9);
  const max = quantile(values, 1);
  if (min === undefined || median === undefined || p90 === undefined || max === undefined) return undefined;
  return { count: values.length, min, median, p90, max };
}
