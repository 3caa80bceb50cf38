import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

export const storageLinkSilent: Scenario = {
  id: "storage-link-silent",
  group: "network",
  tags: ["large"],
  title: "the target's link to its disks goes silent in the middle of post-copy and is back after a second",
  guests: ["linux"],
  configuration: { disks: ["raw", "ext4"] },
  migration: PURE_POSTCOPY,
  faults: [
    {
      fault: { fault: "cut-silent", link: "target-storage", direction: "both" },
      at: { on: "pages", percent: 30 },
      heal: { on: "fault", index: 0, after_ms: 1_000 },
    },
  ],
  expect: { stock: "intact", txsync: "intact" },
};
