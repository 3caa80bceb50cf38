import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

export const cutBetweenPackageAndRunning: Scenario = {
  id: "cut-between-package-and-running",
  group: "network",
  title: "the link goes silent between the package and the running target, for a second",
  guests: ["integrity", "linux"],
  migration: PURE_POSTCOPY,
  faults: [
    {
      fault: { fault: "cut-silent", link: "source-target", direction: "both" },
      at: { on: "step", step: "switchover" },
      heal: { on: "fault", index: 0, after_ms: 1_000 },
    },
  ],
  expect: { txsync: "intact" },
};
