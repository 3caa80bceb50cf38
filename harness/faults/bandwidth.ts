import type { Fault, OnLink } from "./fault.ts";

export type Bandwidth = OnLink & { readonly fault: "bandwidth"; readonly bytes_per_s: number };

/** The link carries no more than so many bytes per second each way. */
export const bandwidth: Fault<Bandwidth> = {
  name: "bandwidth",
  where: ({ link }) => `link ${link}`,
  async inject({ link, ...spec }, { fleet }) {
    return fleet.link(link).shape({ shape: "bandwidth", bytes_per_s: spec.bytes_per_s });
  },
};
