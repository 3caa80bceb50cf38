import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

export const linkCutOneWay: Scenario = {
  id: "link-cut-one-way",
  group: "network",
  title: "nothing goes from the source to the target any more, while everything still goes back",
  guests: ["integrity", "linux"],
  migration: PURE_POSTCOPY,
  faults: [
    { fault: { fault: "cut-silent", link: "source-target", direction: "forward" }, at: { on: "pages", percent: 30 } },
  ],
  expect: { stock: "lost", txsync: "intact" },
};
