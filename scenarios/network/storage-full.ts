import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

export const storageFull: Scenario = {
  id: "storage-full",
  group: "network",
  tags: ["large"],
  title: "the storage host has no room for what is committed, for three seconds in the middle of post-copy",
  guests: ["linux"],
  configuration: { disks: ["raw", "ext4"] },
  migration: PURE_POSTCOPY,
  faults: [
    {
      fault: { fault: "fill", host: "storage", what: "shm" },
      at: { on: "pages", percent: 30 },
      heal: { on: "fault", index: 0, after_ms: 3_000 },
    },
  ],
  // A stock QEMU stops its guest, and somebody has to let it go on.
  expect: { txsync: "intact" },
};
