import { AGENT_FILES } from "../fleet/agent-files.ts";
import type { Fault, OnHost } from "./fault.ts";

/** `promises`: the folder on the agent's disk. `memory`: the one on its tmpfs, where the escrow has log and base. */
export type DenyWrites = OnHost & { readonly fault: "deny-writes"; readonly what: "promises" | "memory" };

/**
 * The host's storage fails: no file can be made, renamed or removed any more in an agent's folders, each attempt is an
 * error (EACCES: a host's root has no CAP_DAC_OVERRIDE, so the mode of a folder binds it too). What is open already can
 * still be written. A real EIO needs a block device of one's own, and with it rights that a host does not have.
 */
export const denyWrites: Fault<DenyWrites> = {
  name: "deny-writes",
  where: ({ host, what }) => `${what} of ${host}`,
  async inject({ host, what }, { fleet }) {
    const target = fleet.host(host);
    const folders = what === "promises" ? AGENT_FILES.state_folder : `${AGENT_FILES.memory_folder}-*`;
    const change = (mode: string): Promise<string> =>
      target.run(`find ${folders} -type d -exec chmod ${mode} {} +`, 10_000);
    await change("u-w");
    return async () => {
      if (!target.gone) await change("u+w");
    };
  },
};
