import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

export const targetFrozen: Scenario = {
  id: "target-frozen",
  group: "target",
  title: "the target's host stands still for two seconds in the middle of post-copy",
  guests: ["integrity", "linux"],
  migration: PURE_POSTCOPY,
  faults: [
    {
      fault: { fault: "freeze-host", host: "target" },
      at: { on: "pages", percent: 30 },
      heal: { on: "fault", index: 0, after_ms: 2_000 },
    },
  ],
  expect: { stock: "intact", txsync: "intact" },
};
