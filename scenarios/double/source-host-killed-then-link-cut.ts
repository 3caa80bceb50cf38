import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

export const sourceHostKilledThenLinkCut: Scenario = {
  id: "source-host-killed-then-link-cut",
  group: "double",
  title: "the source's host dies, and the link to the escrow, which has the pages now, is cut for a while",
  guests: ["integrity", "linux"],
  migration: PURE_POSTCOPY,
  faults: [
    { fault: { fault: "kill-host", host: "source" }, at: { on: "pages", percent: 30 } },
    {
      fault: { fault: "cut-reset", link: "target-escrow" },
      at: { on: "step", step: "takeover", after_ms: 200 },
      heal: { on: "fault", index: 1, after_ms: 1_500 },
    },
  ],
  expect: { txsync: "intact" },
};
