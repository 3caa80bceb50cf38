import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

export const targetDisksFrozen: Scenario = {
  id: "target-disks-frozen",
  group: "target",
  tags: ["large"],
  title: "what serves the target's QEMU its disks stands still for three seconds: longer than a stop is waited for",
  guests: ["linux"],
  configuration: { disks: ["raw", "ext4"] },
  migration: PURE_POSTCOPY,
  faults: [
    {
      fault: { fault: "freeze-process", host: "target", process: "disks" },
      at: { on: "pages", percent: 30 },
      heal: { on: "fault", index: 0, after_ms: 3_000 },
    },
  ],
  expect: { txsync: "intact" },
};
