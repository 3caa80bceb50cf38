import { type Fault, type OneWay, onLink, shapeOn, splitFor } from "./fault.ts";

export type Latency = OneWay & { readonly fault: "latency"; readonly latency_ms: number; readonly jitter_ms: number };

/** Everything on the link comes later, by `latency_ms` give or take `jitter_ms`, in one direction or each. */
export const latency: Fault<Latency> = {
  name: "latency",
  where: onLink,
  prepare: splitFor,
  inject: (spec, { fleet }) =>
    shapeOn(spec, fleet, { shape: "latency", latency_ms: spec.latency_ms, jitter_ms: spec.jitter_ms }),
};
