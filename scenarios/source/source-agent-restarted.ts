import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

export const sourceAgentRestarted: Scenario = {
  id: "source-agent-restarted",
  group: "source",
  title: "the agent on the source's host is killed in the middle of post-copy and started again at once",
  guests: ["integrity", "linux"],
  migration: PURE_POSTCOPY,
  faults: [{ fault: { fault: "kill-process", host: "source", process: "agent" }, at: { on: "pages", percent: 30 } }],
  expect: { txsync: "intact" },
};
