import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";
import { RESUMED_BY_MANAGERS } from "../resumed-by-managers.ts";

export const linkCutTwiceHealed: Scenario = {
  id: "link-cut-twice-healed",
  group: "double",
  title: "the link is reset, comes back, and is reset again before the migration that was recovered ends",
  guests: ["integrity", "linux"],
  migration: PURE_POSTCOPY,
  faults: [
    {
      fault: { fault: "cut-reset", link: "source-target" },
      at: { on: "pages", percent: 30 },
      heal: { on: "fault", index: 0, after_ms: 500 },
    },
    {
      fault: { fault: "cut-reset", link: "source-target" },
      at: { on: "pages", percent: 60 },
      heal: { on: "fault", index: 1, after_ms: 500 },
    },
  ],
  expect: { stock: "intact", txsync: "intact" },
  expect_on: RESUMED_BY_MANAGERS,
};
