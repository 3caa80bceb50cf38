import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

export const cutDuringHandoff: Scenario = {
  id: "cut-during-handoff",
  group: "network",
  title: "both links of the target go silent while it is about to own the VM alone, for a second and a half",
  guests: ["integrity", "linux"],
  migration: PURE_POSTCOPY,
  faults: [
    {
      fault: { fault: "cut-silent", link: "source-target", direction: "both" },
      at: { on: "step", step: "completing" },
      heal: { on: "fault", index: 0, after_ms: 1_500 },
    },
    {
      fault: { fault: "cut-silent", link: "target-escrow", direction: "both" },
      at: { on: "fault", index: 0 },
      heal: { on: "fault", index: 1, after_ms: 1_500 },
    },
  ],
  expect: { txsync: "intact" },
};
