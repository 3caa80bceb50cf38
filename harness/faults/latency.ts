import type { Fault, OnLink } from "./fault.ts";

export type Latency = OnLink & { readonly fault: "latency"; readonly latency_ms: number; readonly jitter_ms: number };

/** Everything on the link comes later, by `latency_ms` give or take `jitter_ms`, each way. */
export const latency: Fault<Latency> = {
  name: "latency",
  where: ({ link }) => `link ${link}`,
  async inject({ link, ...spec }, { fleet }) {
    return fleet.link(link).shape({ shape: "latency", latency_ms: spec.latency_ms, jitter_ms: spec.jitter_ms });
  },
};
