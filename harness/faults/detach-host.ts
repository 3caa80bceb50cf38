import type { Fault, OnHost } from "./fault.ts";

export type DetachHost = OnHost & { readonly fault: "detach-host" };

/** The host's fabric interface is gone: no link of it works, and nobody is told. Healing attaches it again. */
export const detachHost: Fault<DetachHost> = {
  name: "detach-host",
  where: ({ host }) => host,
  async inject({ host }, { fleet }) {
    await fleet.host(host).detachFromFabric();
    return () => fleet.host(host).attachToFabric();
  },
};
