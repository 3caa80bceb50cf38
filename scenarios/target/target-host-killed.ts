import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

export const targetHostKilled: Scenario = {
  id: "target-host-killed",
  group: "target",
  title: "the target's host loses power when 30 % of the pages have arrived",
  guests: ["integrity", "linux"],
  migration: PURE_POSTCOPY,
  faults: [{ fault: { fault: "kill-host", host: "target" }, at: { on: "pages", percent: 30 } }],
  expect: { stock: "lost", txsync: "intact" },
};
