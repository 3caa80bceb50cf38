import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

export const sourceHostKilledWhileAheadThenEscrowAgentRestarted: Scenario = {
  id: "source-host-killed-while-ahead-then-escrow-agent-restarted",
  group: "double",
  title:
    "a protected VM's host is killed while memory goes ahead, and the escrow's agent while the target asks it for the log",
  guests: ["integrity", "linux"],
  migration: PURE_POSTCOPY,
  faults: [
    { fault: { fault: "kill-host", host: "source" }, at: { on: "step", step: "precopy", after_ms: 700 } },
    {
      fault: { fault: "kill-process", host: "escrow", process: "agent" },
      at: { on: "step", step: "restore-started" },
    },
  ],
  txsync: { protect_before: true },
  tags: ["large"],
  expect: { txsync: "intact" },
};
