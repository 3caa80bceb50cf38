import { type Fault, type OnProcess, pidOf } from "./fault.ts";

export type FreezeProcess = OnProcess & { readonly fault: "freeze-process" };

/** SIGSTOP: the process stands still, its sockets stay open. Healing sends SIGCONT. */
export const freezeProcess: Fault<FreezeProcess> = {
  name: "freeze-process",
  where: ({ host, process }) => `${process} on ${host}`,
  async inject(spec, context) {
    const pid = await pidOf(spec, context);
    await context.fleet.host(spec.host).run(`kill -STOP ${pid}`);
    return async () => {
      const host = context.fleet.host(spec.host);
      // What was killed meanwhile needs no thawing.
      if (!host.gone) await host.run(`kill -CONT ${pid} 2>/dev/null || ! kill -0 ${pid} 2>/dev/null`);
    };
  },
};
