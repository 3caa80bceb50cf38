import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

/** The same as target-host-killed, where the kernel tracks nothing and the log is on a disk. */
export const targetHostKilledCompared: Scenario = {
  id: "target-host-killed-compared",
  group: "target",
  title: "the target's host loses power; changed pages are found by comparison, and the log is on a disk",
  guests: ["integrity", "linux"],
  migration: PURE_POSTCOPY,
  faults: [{ fault: { fault: "kill-host", host: "target" }, at: { on: "pages", percent: 30 } }],
  expect: { txsync: "intact" },
  txsync: { find: "sure", log_sync: "disk" },
};
