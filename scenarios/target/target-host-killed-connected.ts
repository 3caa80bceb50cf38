import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

export const targetHostKilledConnected: Scenario = {
  id: "target-host-killed-connected",
  group: "target",
  title: "the target's host loses power while a client outside talks to the VM over one TCP connection",
  guests: ["linux"],
  configuration: { net: "virtio" },
  migration: PURE_POSTCOPY,
  faults: [{ fault: { fault: "kill-host", host: "target" }, at: { on: "pages", percent: 30 } }],
  expect: { stock: "lost", txsync: "intact" },
};
