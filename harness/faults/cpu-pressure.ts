import type { Fault, OnHost } from "./fault.ts";

/** `processes` of the host do nothing but use a processor each, as noisy neighbours do. */
export type CpuPressure = OnHost & { readonly fault: "cpu-pressure"; readonly processes: number };

/** They end by themselves after this, whatever becomes of whoever should have ended them. */
const LONGEST_S = 600;

export const cpuPressure: Fault<CpuPressure> = {
  name: "cpu-pressure",
  where: ({ host, processes }) => `${processes} on ${host}`,
  async inject({ host, processes }, { fleet }) {
    const target = fleet.host(host);
    // Each a process of its own under `timeout`, whose end is the end of what it started.
    const one = `timeout ${LONGEST_S} sh -c 'while :; do :; done' >/dev/null 2>&1 & echo $!`;
    const told = await target.run(`n=0; while [ $n -lt ${processes} ]; do n=$((n+1)); ${one}; done`);
    const pids = told.trim().split(/\s+/).join(" ");
    return async () => {
      if (!target.gone) await target.run(`kill -TERM ${pids} 2>/dev/null; true`);
    };
  },
};
