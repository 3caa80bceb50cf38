import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

export const sourceHostKilledThenEscrowAgentRestarted: Scenario = {
  id: "source-host-killed-then-escrow-agent-restarted",
  group: "double",
  title:
    "the source's host is killed, and the escrow's agent as it takes the page service over: it has its copy of the base still",
  guests: ["integrity", "linux"],
  migration: PURE_POSTCOPY,
  faults: [
    { fault: { fault: "kill-host", host: "source" }, at: { on: "pages", percent: 30 } },
    {
      fault: { fault: "kill-process", host: "escrow", process: "agent" },
      at: { on: "step", step: "takeover" },
    },
  ],
  expect: { txsync: "intact" },
};
