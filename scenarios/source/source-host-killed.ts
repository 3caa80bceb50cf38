import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

export const sourceHostKilled: Scenario = {
  id: "source-host-killed",
  group: "source",
  title: "the source's host loses power when 30 % of the pages have arrived",
  guests: ["integrity", "linux"],
  migration: PURE_POSTCOPY,
  faults: [{ fault: { fault: "kill-host", host: "source" }, at: { on: "pages", percent: 30 } }],
  expect: { stock: "lost", txsync: "intact" },
};
