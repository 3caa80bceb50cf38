import type { TimelineEventBody } from "../../base/timeline.ts";
import type { AgentState, EventBody } from "../core/index.ts";
import type { DataCalls, DataClient } from "../data/index.ts";
import type { StatePart } from "../device/state-part.ts";
import type { AgentConfig } from "./config.ts";
import type { Machine } from "./machine.ts";
import type { OutputStore } from "./output.ts";
import type { VmSlot } from "./vm-slot.ts";

/** What the parts of an agent share. */
export interface Shell {
  readonly config: AgentConfig;
  readonly data: DataClient;
  readonly output: OutputStore;
  /** Of the VM's state, beside device state and RAM. */
  readonly parts: readonly StatePart[];
  readonly slot: VmSlot;
  readonly state: () => AgentState;
  /** Something happened: the core is told, in order. */
  readonly dispatch: (event: EventBody) => void;
  /** For whoever watches; never for another agent. */
  readonly emit: (event: TimelineEventBody) => void;
  readonly machine: () => Machine;
}

export function log(shell: Pick<Shell, "emit">, line: string): void {
  shell.emit({ kind: "log", stream: "agent", line });
}

/** Tells the data plane something that nobody waits for. */
export function tellData<K extends keyof DataCalls>(
  shell: Pick<Shell, "data" | "emit">,
  call: K,
  what: Parameters<DataCalls[K]>[0],
): void {
  shell.data.ask(call, what).catch((error: unknown) => log(shell, `${call}: ${String(error)}`));
}
