import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

export const escrowAgentRestartedDuringRestore: Scenario = {
  id: "escrow-agent-restarted-during-restore",
  group: "double",
  title: "the target's host is killed, and the escrow's agent while the source asks it for the log",
  guests: ["integrity", "linux"],
  migration: PURE_POSTCOPY,
  faults: [
    { fault: { fault: "kill-host", host: "target" }, at: { on: "pages", percent: 30 } },
    {
      fault: { fault: "kill-process", host: "escrow", process: "agent" },
      at: { on: "step", step: "restore-started" },
    },
  ],
  expect: { txsync: "intact" },
};
