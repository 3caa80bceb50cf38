import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

export const targetDisksKilled: Scenario = {
  id: "target-disks-killed",
  group: "target",
  tags: ["large"],
  title:
    "what serves the target's QEMU its disks is killed while writes wait for their commit: another one finds them again",
  guests: ["linux"],
  configuration: { disks: ["raw", "ext4"] },
  migration: PURE_POSTCOPY,
  faults: [
    {
      fault: { fault: "kill-process", host: "target", process: "disks" },
      at: { on: "step", step: "transaction-taken" },
    },
  ],
  expect: { txsync: "intact" },
};
