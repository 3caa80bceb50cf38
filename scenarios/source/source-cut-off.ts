import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

export const sourceCutOff: Scenario = {
  id: "source-cut-off",
  group: "source",
  title: "nothing goes to or from the source any more, in the middle of post-copy",
  guests: ["integrity", "linux"],
  migration: PURE_POSTCOPY,
  faults: [{ fault: { fault: "detach-host", host: "source" }, at: { on: "pages", percent: 30 } }],
  expect: { stock: "lost", txsync: "intact" },
};
