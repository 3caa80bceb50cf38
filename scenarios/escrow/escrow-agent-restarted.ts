import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

export const escrowAgentRestarted: Scenario = {
  id: "escrow-agent-restarted",
  group: "escrow",
  title: "the agent on the escrow's host is killed in the middle of post-copy and started again at once",
  guests: ["integrity", "linux"],
  migration: PURE_POSTCOPY,
  faults: [{ fault: { fault: "kill-process", host: "escrow", process: "agent" }, at: { on: "pages", percent: 30 } }],
  expect: { txsync: "intact" },
};
