import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

/** Leases run out at once for whoever's clock steps: that may cost a vote, never a second VM. */
export const clocksStep: Scenario = {
  id: "clocks-step",
  group: "double",
  title: "the clock of the target's agent is three seconds on from one moment to the next, and then the escrow's",
  guests: ["integrity", "linux"],
  tags: ["large"],
  migration: PURE_POSTCOPY,
  faults: [
    {
      fault: { fault: "clock-step", host: "target", clock: "monotonic", by_ms: 3_000 },
      at: { on: "pages", percent: 30 },
    },
    {
      fault: { fault: "clock-step", host: "escrow", clock: "monotonic", by_ms: 3_000 },
      at: { on: "transactions", count: 5 },
    },
  ],
  expect: { txsync: "intact" },
};
