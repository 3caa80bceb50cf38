import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

export const storageLinkCutForGood: Scenario = {
  id: "storage-link-cut-for-good",
  group: "network",
  tags: ["large"],
  title:
    "the target's link to its disks is reset in the middle of post-copy, for good: the guest stops itself with an error that is told, whole",
  guests: ["linux"],
  configuration: { disks: ["raw", "ext4"], storage_patience_ms: 3_000 },
  migration: PURE_POSTCOPY,
  faults: [{ fault: { fault: "cut-reset", link: "target-storage" }, at: { on: "pages", percent: 30 } }],
  // It stands there, whole: when the run is over the link is mended, and it goes on (check storage-away).
  expect: { stock: "intact", txsync: "intact" },
};
