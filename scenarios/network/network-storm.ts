import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

export const networkStorm: Scenario = {
  id: "network-storm",
  group: "network",
  tags: ["large"],
  title:
    "a flood of datagrams in both directions while the VM is carried over, and the target's host loses power in it",
  guests: ["linux"],
  configuration: { net: "virtio" },
  work: { storm_datagrams_per_s: 500 },
  migration: PURE_POSTCOPY,
  faults: [{ fault: { fault: "kill-host", host: "target" }, at: { on: "pages", percent: 30 } }],
  expect: { stock: "lost", txsync: "intact" },
};
