import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

export const storageKilledAndBack: Scenario = {
  id: "storage-killed-and-back",
  group: "network",
  tags: ["large"],
  title: "what exports the VM's disks is killed in the middle of post-copy and is back after a second",
  guests: ["linux"],
  configuration: { disks: ["raw", "ext4"] },
  migration: PURE_POSTCOPY,
  faults: [
    {
      fault: { fault: "kill-storage", what: "server" },
      at: { on: "pages", percent: 30 },
      heal: { on: "fault", index: 0, after_ms: 1_000 },
    },
  ],
  expect: { stock: "intact", txsync: "intact" },
};
