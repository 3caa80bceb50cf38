import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

export const linkCutForGood: Scenario = {
  id: "link-cut-for-good",
  group: "network",
  title: "the link is reset in the middle of post-copy and never comes back",
  guests: ["integrity", "linux"],
  migration: PURE_POSTCOPY,
  faults: [{ fault: { fault: "cut-reset", link: "source-target" }, at: { on: "pages", percent: 30 } }],
  expect: { stock: "lost", txsync: "intact" },
};
