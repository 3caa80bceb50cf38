import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

export const targetHostKilledWatched: Scenario = {
  id: "target-host-killed-watched",
  group: "target",
  tags: ["large"],
  title: "the target's host loses power under a guest whose watchdogs panic when a processor or a task stands still",
  guests: ["linux"],
  configuration: { vcpus: 2 },
  work: { watchdogs: true },
  migration: PURE_POSTCOPY,
  faults: [{ fault: { fault: "kill-host", host: "target" }, at: { on: "pages", percent: 30 } }],
  expect: { stock: "lost", txsync: "intact" },
};
