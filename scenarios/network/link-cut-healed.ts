import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";
import { RESUMED_BY_MANAGERS } from "../resumed-by-managers.ts";

export const linkCutHealed: Scenario = {
  id: "link-cut-healed",
  group: "network",
  title: "the link is reset in the middle of post-copy and is back after a second",
  guests: ["integrity", "linux"],
  migration: PURE_POSTCOPY,
  faults: [
    {
      fault: { fault: "cut-reset", link: "source-target" },
      at: { on: "pages", percent: 30 },
      heal: { on: "fault", index: 0, after_ms: 1_000 },
    },
  ],
  expect: { stock: "intact", txsync: "intact" },
  expect_on: RESUMED_BY_MANAGERS,
};
