import { MANAGEMENT_NAME } from "../../fleet/ports.ts";
import { MONITOR_PORTS } from "../../fleet/vm.ts";
import type { Machine } from "../../txsync/agent/machine.ts";

/** The VM as the agents are told of it, with monitors for the harness beside the agent's own. */
export function agentMachine(what: {
  readonly kernel?: string;
  readonly initrd?: string;
  readonly append?: string;
  readonly state?: string;
  readonly accel: "tcg" | "kvm";
  readonly machine: string;
  readonly vcpus: number;
  readonly cpu?: string;
  readonly card?: { readonly model: string; readonly mac: string };
  readonly extra: readonly string[];
  readonly memory_bytes: number;
  readonly hold: boolean;
}): Machine {
  const { vcpus, extra, ...rest } = what;
  return {
    name: "ferryman",
    smp: vcpus,
    monitors: Object.values(MONITOR_PORTS).map((port) => ({ host: MANAGEMENT_NAME, port })),
    extra: [...extra],
    ...rest,
  };
}
