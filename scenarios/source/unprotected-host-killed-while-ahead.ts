import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

/** Without protection a VM lives and dies with its host until switchover. */
export const unprotectedHostKilledWhileAhead: Scenario = {
  id: "unprotected-host-killed-while-ahead",
  group: "source",
  title: "the source's host loses power while memory goes ahead to the target",
  guests: ["integrity", "linux"],
  migration: { ...PURE_POSTCOPY, switchover: { stock: "after-one-pass", txsync: "at-once" } },
  faults: [{ fault: { fault: "kill-host", host: "source" }, at: { on: "step", step: "precopy", after_ms: 700 } }],
  txsync: { switchover_by: "agent" },
  tags: ["large"],
  expect: { stock: "lost", txsync: "lost" },
};
