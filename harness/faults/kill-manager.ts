import type { Fault, OnHost } from "./fault.ts";

/** `daemon`: libvirtd; `client`: the virsh that asked for the migration, on the source. */
export interface KillManager extends OnHost {
  readonly fault: "kill-manager";
  readonly part: "daemon" | "client";
}

/**
 * SIGKILL to what manages QEMU on a host; QEMU itself goes on. Healed, the daemon is started again, as its supervisor
 * would, and finds the QEMUs that run. Nobody asks again in place of a client that was killed.
 */
export const killManager: Fault<KillManager> = {
  name: "kill-manager",
  where: ({ host, part }) => `the manager's ${part} on ${host}`,
  async inject({ host, part }, { manager }) {
    const processes = manager?.(host);
    if (processes === undefined) throw new Error(`there is no manager on ${host} that could be killed`);
    if (part === "client") {
      await processes.killClient();
      return undefined;
    }
    await processes.killDaemon();
    return () => processes.startDaemon();
  },
};
