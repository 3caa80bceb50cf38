import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

export const escrowKilled: Scenario = {
  id: "escrow-killed",
  group: "escrow",
  title: "the escrow's agent is killed and stays away: the migration goes on without protection",
  guests: ["integrity", "linux"],
  migration: PURE_POSTCOPY,
  faults: [
    {
      fault: { fault: "kill-process", host: "escrow", process: "agent", stays_away: true },
      at: { on: "pages", percent: 30 },
    },
  ],
  expect: { txsync: "intact" },
};
