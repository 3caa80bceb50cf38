import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

export const storageLinkSlow: Scenario = {
  id: "storage-link-slow",
  group: "network",
  tags: ["large"],
  title: "both hosts' links to the VM's disks are slow and their delay varies from before the migration on",
  guests: ["linux"],
  configuration: { disks: ["raw", "ext4"] },
  migration: PURE_POSTCOPY,
  faults: [
    {
      fault: { fault: "latency", link: "source-storage", latency_ms: 10, jitter_ms: 5 },
      at: { on: "step", step: "setup" },
    },
    {
      fault: { fault: "latency", link: "target-storage", latency_ms: 10, jitter_ms: 5 },
      at: { on: "step", step: "setup" },
    },
  ],
  expect: { stock: "intact", txsync: "intact" },
};
