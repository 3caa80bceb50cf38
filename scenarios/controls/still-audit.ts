import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

export const stillAudit: Scenario = {
  id: "still-audit",
  group: "controls",
  title: "nothing breaks and the target is held still: every page of every RAM block is compared with the source's",
  guests: ["integrity", "linux"],
  migration: { ...PURE_POSTCOPY, hold_target: true },
  faults: [],
  expect: { stock: "intact", txsync: "intact" },
};
