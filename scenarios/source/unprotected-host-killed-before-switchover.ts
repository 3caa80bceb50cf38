import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

/** Without protection a VM lives and dies with its host until switchover. */
export const unprotectedHostKilledBeforeSwitchover: Scenario = {
  id: "unprotected-host-killed-before-switchover",
  group: "source",
  title: "as it is asked to migrate the source's host loses power, and the VM is still there",
  guests: ["integrity", "linux"],
  migration: { ...PURE_POSTCOPY, switchover: { stock: "after-one-pass", txsync: "at-once" } },
  faults: [{ fault: { fault: "kill-host", host: "source" }, at: { on: "step", step: "precopy" } }],
  txsync: { switchover_by: "agent" },
  tags: ["large"],
  expect: { stock: "lost", txsync: "lost" },
};
