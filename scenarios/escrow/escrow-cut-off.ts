import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

export const escrowCutOff: Scenario = {
  id: "escrow-cut-off",
  group: "escrow",
  title: "nothing goes to or from the escrow any more",
  guests: ["integrity", "linux"],
  migration: PURE_POSTCOPY,
  faults: [
    { fault: { fault: "cut-silent", link: "source-escrow", direction: "both" }, at: { on: "pages", percent: 30 } },
    { fault: { fault: "cut-silent", link: "target-escrow", direction: "both" }, at: { on: "fault", index: 0 } },
  ],
  expect: { txsync: "intact" },
};
