import { GENESIS } from "../../../txsync/core/index.ts";
import type { AgentStatus } from "../agent-client.ts";

/** An agent that nobody has asked for anything yet. */
export const idle: AgentStatus = {
  phase: "idle",
  vm: "none",
  owner: false,
  opened: GENESIS,
  promised: GENESIS,
  finished: false,
  letIn: true,
  protect: false,
  protected: false,
  allPages: false,
  route: "direct",
  log: null,
  qemu: null,
  folder: null,
  migration: null,
  hears: ["source", "target", "escrow"],
};
