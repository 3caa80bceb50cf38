import { type FaultPlan, PURE_POSTCOPY, type Scenario, type Trigger } from "../../harness/run/scenario.ts";

const TIMES = 16;

/** Pairs of `stop` and `cont`, each so long after the one before that they come at any moment of a transaction. */
function plays(): readonly FaultPlan[] {
  const after = (index: number, after_ms: number): Trigger => ({ on: "fault", index, after_ms });
  return Array.from({ length: TIMES }, (_, i): FaultPlan[] => [
    {
      fault: { fault: "qmp", host: "source", command: "stop" },
      at: i === 0 ? { on: "transactions", count: 4 } : after(2 * i - 1, 60 + 17 * i),
    },
    { fault: { fault: "qmp", host: "source", command: "cont" }, at: after(2 * i, 90 + 13 * i) },
  ]).flat();
}

/** A transaction in whose middle somebody else lets the VM run is none; a restore of one would be seen as wrong pages. */
export const operatorPauses: Scenario = {
  id: "operator-pauses",
  group: "source",
  tags: ["large"],
  title: "an operator pauses a protected VM again and again and lets it run, by its monitor; then its host loses power",
  guests: ["integrity", "linux"],
  migration: PURE_POSTCOPY,
  protect: "alone",
  work: { write_rate_pages_per_s: 20_000 },
  faults: [
    ...plays(),
    { fault: { fault: "kill-host", host: "source" }, at: { on: "fault", index: 2 * TIMES - 1, after_ms: 30 } },
  ],
  expect: { txsync: "intact" },
};
