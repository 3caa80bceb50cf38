import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

export const sourceHostKilledWhileAhead: Scenario = {
  id: "source-host-killed-while-ahead",
  group: "source",
  title: "a protected VM: the source's host loses power while memory goes ahead to the target",
  guests: ["integrity", "linux"],
  migration: PURE_POSTCOPY,
  faults: [{ fault: { fault: "kill-host", host: "source" }, at: { on: "step", step: "precopy", after_ms: 700 } }],
  txsync: { protect_before: true },
  expect: { txsync: "intact" },
  // Not in every `npm test`, which has its near twin source-host-killed-before-switchover.
  tags: ["large"],
};
