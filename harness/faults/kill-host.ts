import type { Fault, OnHost } from "./fault.ts";

export type KillHost = OnHost & { readonly fault: "kill-host" };

/** The host loses power: every process dies and its memory, /dev/shm included, is gone. */
export const killHost: Fault<KillHost> = {
  name: "kill-host",
  where: ({ host }) => host,
  async inject({ host }, { fleet }) {
    await fleet.host(host).kill();
    return undefined;
  },
};
