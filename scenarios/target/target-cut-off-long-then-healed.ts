import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

export const targetCutOffLongThenHealed: Scenario = {
  id: "target-cut-off-long-then-healed",
  group: "target",
  title: "the target is cut off while it lives on, is succeeded by the source, and is seen again",
  guests: ["integrity", "linux"],
  migration: PURE_POSTCOPY,
  faults: [
    {
      fault: { fault: "detach-host", host: "target" },
      at: { on: "pages", percent: 30 },
      heal: { on: "fault", index: 0, after_ms: 4_000 },
    },
  ],
  expect: { txsync: "intact" },
};
