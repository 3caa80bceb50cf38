import { HOST_LINK_NAMES, HOST_ROLES } from "../base/timeline.ts";
import type { Fault, OnHost } from "./fault.ts";

export type DetachHost = OnHost & { readonly fault: "detach-host" };

/**
 * The host's fabric interface is gone: no link of it works, and nobody is told. Healing attaches it again. Agents, who dial
 * each other anew all the time, find their links free then; QEMU's stream, which is dialled once, is told nothing.
 */
export const detachHost: Fault<DetachHost> = {
  name: "detach-host",
  where: ({ host }) => host,
  async inject({ host }, { fleet, pid }) {
    await fleet.host(host).detachFromFabric();
    return async () => {
      await fleet.host(host).attachToFabric();
      const others = HOST_ROLES.filter((role) => role !== host);
      if (!others.some((role) => pid(role, "agent") !== undefined)) return;
      await Promise.all(
        HOST_LINK_NAMES.filter((name) => name.split("-").includes(host)).map((name) => fleet.link(name).beginAnew()),
      );
    };
  },
};
