import type { TimelineEventBody } from "../../base/timeline.ts";
import type { AgentState, EventBody } from "../core/index.ts";
import type { AgentConfig } from "./config.ts";
import type { Machine } from "./machine.ts";
import type { OutputStore } from "./output.ts";
import type { Peers } from "./peers.ts";
import type { VmSlot } from "./vm-slot.ts";

/** What the parts of an agent share. */
export interface Shell {
  readonly config: AgentConfig;
  readonly peers: Peers;
  readonly output: OutputStore;
  readonly slot: VmSlot;
  readonly state: () => AgentState;
  /** Something happened: the core is told, in order. */
  readonly dispatch: (event: EventBody) => void;
  /** For whoever watches; never for another agent. */
  readonly emit: (event: TimelineEventBody) => void;
  readonly machine: () => Machine;
}
