import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

export const targetDisksKilledThenHostKilled: Scenario = {
  id: "target-disks-killed-then-host-killed",
  group: "double",
  tags: ["large"],
  title: "what serves the target's QEMU its disks is killed, and the host loses power while another one comes up",
  guests: ["linux"],
  configuration: { disks: ["raw", "ext4"] },
  migration: PURE_POSTCOPY,
  faults: [
    { fault: { fault: "kill-process", host: "target", process: "disks" }, at: { on: "pages", percent: 30 } },
    { fault: { fault: "kill-host", host: "target" }, at: { on: "fault", index: 0, after_ms: 300 } },
  ],
  expect: { txsync: "intact" },
};
