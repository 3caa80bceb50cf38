import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

export const targetAgentRestarted: Scenario = {
  id: "target-agent-restarted",
  group: "target",
  title: "the agent on the target's host is killed in the middle of post-copy and started again at once",
  guests: ["integrity", "linux"],
  migration: PURE_POSTCOPY,
  faults: [{ fault: { fault: "kill-process", host: "target", process: "agent" }, at: { on: "pages", percent: 30 } }],
  expect: { txsync: "intact" },
};
