import { type Fault, type OneWay, onLink, shapeOn, splitFor } from "./fault.ts";

export type Slice = OneWay & {
  readonly fault: "slice";
  readonly bytes_mean: number;
  readonly bytes_variation: number;
  readonly delay_us: number;
};

/** Data comes in small pieces with a pause between them: finds readers that take a read for a record. */
export const slice: Fault<Slice> = {
  name: "slice",
  where: onLink,
  prepare: splitFor,
  inject: (spec, { fleet }) =>
    shapeOn(spec, fleet, {
      shape: "sliced",
      bytes_mean: spec.bytes_mean,
      bytes_variation: spec.bytes_variation,
      delay_us: spec.delay_us,
    }),
};
