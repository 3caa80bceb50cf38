import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

/** Whether the package had left or not: the transaction that it is was at the escrow before. */
export const protectedSourceHostKilledAtSwitchover: Scenario = {
  id: "protected-source-host-killed-at-switchover",
  group: "source",
  title: "a protected VM leaves its host, which loses power in that moment",
  guests: ["integrity", "linux"],
  migration: PURE_POSTCOPY,
  faults: [{ fault: { fault: "kill-host", host: "source" }, at: { on: "step", step: "switchover" } }],
  txsync: { protect_before: true },
  tags: ["large"],
  expect: { txsync: "intact" },
};
