import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

export const targetHostKilledAfterHandoff: Scenario = {
  id: "target-host-killed-after-handoff",
  group: "target",
  title: "protection goes on after the handoff, and a second later the target's host loses power",
  guests: ["integrity", "linux"],
  migration: PURE_POSTCOPY,
  txsync: { protect: "always" },
  faults: [{ fault: { fault: "kill-host", host: "target" }, at: { on: "step", step: "handoff", after_ms: 1_000 } }],
  expect: { txsync: "intact" },
};
