import { type Fault, type OneWay, onLink, shapeOn, splitFor } from "./fault.ts";

export type Bandwidth = OneWay & { readonly fault: "bandwidth"; readonly bytes_per_s: number };

/** No connection of the link carries more than so many bytes per second, in one direction or each. */
export const bandwidth: Fault<Bandwidth> = {
  name: "bandwidth",
  where: onLink,
  prepare: splitFor,
  inject: (spec, { fleet }) => shapeOn(spec, fleet, { shape: "bandwidth", bytes_per_s: spec.bytes_per_s }),
};
