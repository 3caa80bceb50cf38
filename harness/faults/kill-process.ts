import { AGENT_FILES } from "../fleet/agent-files.ts";
import { type Fault, type OnProcess, pidOf } from "./fault.ts";

/** `stays_away`: an agent is not started again by its supervisor until it is healed. */
export type KillProcess = OnProcess & { readonly fault: "kill-process"; readonly stays_away?: true };

/** SIGKILL: the process is gone without a word; its host and what lies in the host's memory files remain. */
export const killProcess: Fault<KillProcess> = {
  name: "kill-process",
  where: ({ host, process }) => `${process} on ${host}`,
  async inject(spec, context) {
    const host = context.fleet.host(spec.host);
    const pid = await pidOf(spec, context);
    if (spec.stays_away !== true) {
      await host.run(`kill -9 ${pid}`);
      return undefined;
    }
    await host.run(`touch ${AGENT_FILES.hold}; kill -9 ${pid}`);
    return async () => {
      if (!host.gone) await host.run(`rm -f ${AGENT_FILES.hold}`);
    };
  },
};
