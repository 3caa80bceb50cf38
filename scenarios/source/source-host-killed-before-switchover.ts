import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

/** The VM was protected before, so it is made again on the target, whose QEMU waits for it. */
export const sourceHostKilledBeforeSwitchover: Scenario = {
  id: "source-host-killed-before-switchover",
  group: "source",
  title: "a protected VM: as it is asked to migrate the source's host loses power, and the VM is still there",
  guests: ["integrity", "linux"],
  migration: PURE_POSTCOPY,
  faults: [{ fault: { fault: "kill-host", host: "source" }, at: { on: "step", step: "precopy" } }],
  txsync: { protect_before: true },
  expect: { txsync: "intact" },
};
