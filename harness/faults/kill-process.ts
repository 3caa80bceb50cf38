import { type Fault, type OnProcess, pidOf } from "./fault.ts";

export type KillProcess = OnProcess & { readonly fault: "kill-process" };

/** SIGKILL: the process is gone without a word; its host and what lies in the host's memory files remain. */
export const killProcess: Fault<KillProcess> = {
  name: "kill-process",
  where: ({ host, process }) => `${process} on ${host}`,
  async inject(spec, context) {
    await context.fleet.host(spec.host).run(`kill -9 ${pidOf(spec, context)}`);
    return undefined;
  },
};
