import type { FaultSpec } from "../../harness/faults/index.ts";
import { type FaultPlan, PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";
import type { StepName } from "../../harness/run/steps.ts";

/**
 * A slice of the matrix for every `npm test`: at each step that none of the scenarios names a fault strikes. Many steps
 * share a run, so that it costs a run more and no thirty: what strikes there is short, and nothing that anybody may notice.
 * They can be run by hand: `run scenarios/testing/step-cells.ts#steps-of-a-restore`. step-cells.test.ts counts.
 */

const delayed = (link: "source-target" | "source-escrow" | "target-escrow"): FaultSpec => {
  return { fault: "latency", link, latency_ms: 20, jitter_ms: 10 };
};
const silent = (link: "source-escrow" | "target-escrow"): FaultSpec => {
  return { fault: "cut-silent", link, direction: "both" };
};
const frozen = (host: "source" | "target" | "escrow"): FaultSpec => {
  return { fault: "freeze-process", host, process: "agent" };
};
const IN_PIECES: FaultSpec = {
  fault: "slice",
  link: "target-escrow",
  bytes_mean: 700,
  bytes_variation: 600,
  delay_us: 20,
};
/** Far below a lease. */
const LASTS_MS = 100;

type Struck = readonly [StepName, FaultSpec];

/**
 * Those plans, and behind them something short at each of those steps.
 * @param since_first only once the first of the plans has struck: votes come in every migration
 * @param lasts false: it stays, for after the last steps a run may be over before it is healed
 */
function and(
  before: readonly FaultPlan[],
  steps: readonly Struck[],
  { since_first = true, lasts = true } = {},
): readonly FaultPlan[] {
  const struck = steps.map(([step, fault], i): FaultPlan => {
    const heal = { heal: { on: "fault", index: before.length + i, after_ms: LASTS_MS } } as const;
    return { fault, at: { on: "step", step, ...(since_first ? { since: 0 } : {}) }, ...(lasts ? heal : {}) };
  });
  return [...before, ...struck];
}

const escrowStands: FaultPlan = {
  fault: frozen("escrow"),
  at: { on: "pages", percent: 30 },
  heal: { on: "fault", index: 0, after_ms: 900 },
};
const targetDies: FaultPlan = {
  fault: { fault: "kill-process", host: "target", process: "qemu" },
  at: { on: "pages", percent: 30 },
};
const sourceDies: FaultPlan = { fault: { fault: "kill-host", host: "source" }, at: { on: "pages", percent: 60 } };
const linkBlinks: FaultPlan = {
  fault: { fault: "cut-reset", link: "source-target" },
  at: { on: "pages", percent: 30 },
  heal: { on: "fault", index: 0, after_ms: 1_000 },
};

/** Steps of every migration, in the order in which they come, and then of an escrow that stands still for a moment. */
const OF_A_MIGRATION: readonly Struck[] = [
  ["vote-asked", delayed("source-escrow")],
  ["vote-promise-made", delayed("source-target")],
  ["vote-promised", frozen("escrow")],
  ["generation-opened", delayed("target-escrow")],
  ["transaction-taken", IN_PIECES],
  ["record-half-sent", silent("target-escrow")],
  ["record-stored", frozen("escrow")],
  ["transaction-committed", frozen("source")],
  ["output-released", silent("source-escrow")],
  ["base-covered", delayed("source-escrow")],
];
const NO_ESCROW: readonly Struck[] = [
  ["lease-lost", delayed("source-target")],
  ["protection-off", frozen("source")],
  ["lease-regained", delayed("target-escrow")],
];
const TO_THE_END: readonly Struck[] = [
  ["ownership-asked", delayed("source-escrow")],
  ["ownership-promised", IN_PIECES],
  ["completed", delayed("target-escrow")],
];

export const stepsOfAMigration: Scenario = {
  id: "steps-of-a-migration",
  group: "steps",
  title: "something short strikes at each step of a migration, and its escrow stands still in the middle",
  guests: ["integrity", "linux"],
  migration: { switchover: "at-once", bandwidth_bytes_per_s: 32 * 1024 * 1024 },
  faults: and(and(and([escrowStands], OF_A_MIGRATION, { since_first: false }), NO_ESCROW), TO_THE_END, {
    lasts: false,
  }),
  expect: { txsync: "intact" },
};

export const stepsOfARestore: Scenario = {
  id: "steps-of-a-restore",
  group: "steps",
  title: "the target's QEMU dies, and something short strikes at each step of the restore",
  guests: ["integrity", "linux"],
  migration: PURE_POSTCOPY,
  faults: and(
    [targetDies],
    [
      ["vote-pre-asked", delayed("source-escrow")],
      ["vote-pre-promised", delayed("target-escrow")],
      ["restore-made", silent("target-escrow")],
      ["restore-verified", silent("source-escrow")],
      ["restore-running", frozen("target")],
      ["generation-closed", delayed("source-target")],
    ],
  ),
  expect: { txsync: "intact" },
};

export const stepsOfATakeover: Scenario = {
  id: "steps-of-a-takeover",
  group: "steps",
  title: "the source's host dies, and something short strikes at each step of the takeover",
  guests: ["integrity", "linux"],
  migration: PURE_POSTCOPY,
  faults: and(
    [sourceDies],
    [
      ["pages-rerouted", delayed("target-escrow")],
      ["takeover-served", frozen("escrow")],
    ],
  ),
  expect: { txsync: "intact" },
};

export const stepsOfARecovery: Scenario = {
  id: "steps-of-a-recovery",
  group: "steps",
  title: "the link is reset and back after a second, and something short strikes at each step of QEMU's own recovery",
  guests: ["integrity", "linux"],
  migration: PURE_POSTCOPY,
  faults: and(
    [linkBlinks],
    [
      ["postcopy-paused", { fault: "cpu-pressure", host: "source", processes: 1 }],
      ["recovering", delayed("source-target")],
    ],
  ),
  expect: { stock: "intact" },
};

export const STEP_CELLS = [stepsOfAMigration, stepsOfARestore, stepsOfATakeover, stepsOfARecovery] as const;

/** Steps at which nothing strikes in `npm test`, and why. */
export const NOT_STRUCK: Readonly<Partial<Record<StepName, string>>> = {
  failed: "no fault is known that brings a migration there for sure (harness/explore/reach.ts)",
  "vote-pre-refused": "whether anybody refuses hangs on who asks first (harness/explore/reach.ts)",
  "vote-refused": "whether anybody refuses hangs on who asks first (harness/explore/reach.ts)",
  "output-full": "it takes a slow migration of 16 s: escrow-cut-output-held, in test:large",
  "output-room": "it takes a slow migration of 16 s: escrow-cut-output-held, in test:large",
};
