import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

export const targetAgentKilled: Scenario = {
  id: "target-agent-killed",
  group: "target",
  title: "the target's agent is killed and stays away until the source has taken the VM; its QEMU lives on meanwhile",
  guests: ["integrity", "linux"],
  migration: PURE_POSTCOPY,
  faults: [
    {
      fault: { fault: "kill-process", host: "target", process: "agent", stays_away: true },
      at: { on: "pages", percent: 30 },
      heal: { on: "fault", index: 0, after_ms: 3_000 },
    },
  ],
  expect: { txsync: "intact" },
};
