import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

export const linkCutSilentHealed: Scenario = {
  id: "link-cut-silent-healed",
  group: "network",
  title: "the link goes silent in the middle of post-copy and is back after two seconds",
  guests: ["integrity", "linux"],
  migration: PURE_POSTCOPY,
  faults: [
    {
      fault: { fault: "cut-silent", link: "source-target", direction: "both" },
      at: { on: "pages", percent: 30 },
      heal: { on: "fault", index: 0, after_ms: 2_000 },
    },
  ],
  expect: { stock: "intact", txsync: "intact" },
};
