import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

export const sourceFrozen: Scenario = {
  id: "source-frozen",
  group: "source",
  title: "the source's host stands still for two seconds in the middle of post-copy",
  guests: ["integrity", "linux"],
  migration: PURE_POSTCOPY,
  faults: [
    {
      fault: { fault: "freeze-host", host: "source" },
      at: { on: "pages", percent: 30 },
      heal: { on: "fault", index: 0, after_ms: 2_000 },
    },
  ],
  expect: { stock: "intact", txsync: "intact" },
};
