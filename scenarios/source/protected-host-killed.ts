import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

export const protectedHostKilled: Scenario = {
  id: "protected-host-killed",
  group: "source",
  title: "a VM that never migrates is protected where it runs, and a second later its host loses power",
  guests: ["integrity", "linux"],
  migration: PURE_POSTCOPY,
  protect: "alone",
  faults: [
    { fault: { fault: "kill-host", host: "source" }, at: { on: "step", step: "protection-on", after_ms: 1_000 } },
  ],
  expect: { txsync: "intact" },
};
