import type { Fault, OnHost } from "./fault.ts";

export type FreezeHost = OnHost & { readonly fault: "freeze-host" };

/** Every process of the host stands still; connections stay open and silent. Healing thaws it. */
export const freezeHost: Fault<FreezeHost> = {
  name: "freeze-host",
  where: ({ host }) => host,
  async inject({ host }, { fleet }) {
    await fleet.host(host).freeze();
    return () => fleet.host(host).thaw();
  },
};
