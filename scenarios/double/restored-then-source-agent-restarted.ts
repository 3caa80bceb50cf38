import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

export const restoredThenSourceAgentRestarted: Scenario = {
  id: "restored-then-source-agent-restarted",
  group: "double",
  title: "the target's host is killed, and the source's agent when the VM that it restored has just begun to run",
  guests: ["integrity", "linux"],
  migration: PURE_POSTCOPY,
  faults: [
    { fault: { fault: "kill-host", host: "target" }, at: { on: "pages", percent: 30 } },
    {
      fault: { fault: "kill-process", host: "source", process: "agent" },
      at: { on: "step", step: "restore-finished", after_ms: 50 },
    },
  ],
  expect: { txsync: "intact" },
};
