import { ALL_RULES, type Rules } from "../core/index.ts";
import type { Fault } from "./schedule.ts";

/** The core with one rule broken, and how many schedules the simulator may need to find out. */
export interface Mutant {
  readonly rule: keyof Rules;
  readonly what: string;
  readonly schedules_max: number;
  /** Where the harm needs a rare coincidence: search only schedules with these faults. */
  readonly faults?: readonly Fault[];
  /** Where it is rarer still: from this seed on. */
  readonly from?: number;
}

/** The target falls silent for a little longer than the lease, and comes back while the source is taking over. */
const SILENT_FOR_A_LEASE: Fault = {
  kind: "freeze-host",
  role: "target",
  for_ms: 560,
  when: { after: "releaseOutput", by: "target", count: 2, plus_ms: 3 },
};

/**
 * The escrow's host loses power while it writes its second promise, and comes back while nobody can tell it what it
 * promised but the target can reach it.
 */
const ESCROW_FORGETS: readonly Fault[] = [
  {
    kind: "reboot-host",
    role: "escrow",
    for_ms: 200,
    when: { after: "persistPromise", by: "escrow", count: 2, plus_ms: 3 },
  },
  {
    kind: "cut",
    pair: "source-target",
    direction: "both",
    for_ms: 700,
    when: { after: "persistPromise", by: "escrow", count: 2, plus_ms: 1 },
  },
  {
    kind: "cut",
    pair: "source-escrow",
    direction: "both",
    for_ms: 400,
    when: { after: "persistPromise", by: "escrow", count: 2, plus_ms: 12 },
  },
];

export const MUTANTS: readonly Mutant[] = [
  {
    rule: "promiseDurable",
    what: "a promise is sent before it is on disk",
    schedules_max: 200,
    faults: [...ESCROW_FORGETS, SILENT_FOR_A_LEASE],
  },
  {
    // From seed 0 it takes 10,917 schedules.
    rule: "refuseOldRecords",
    what: "the escrow commits records of an old generation",
    schedules_max: 5_000,
    from: 10_000,
  },
  { rule: "gateWaitsForCommit", what: "the gate opens one transaction early", schedules_max: 100 },
  {
    rule: "unprotectedNeedsVote",
    what: "output leaves after the escrow's lease ran out, without a vote",
    schedules_max: 5_000,
  },
  { rule: "freeBindsForEver", what: "a promise of a free generation is given away again", schedules_max: 5_000 },
  { rule: "refuseWhileHearing", what: "an agent promises although it hears the owner", schedules_max: 5_000 },
  { rule: "restartOpensGeneration", what: "a restarted target goes on in its old generation", schedules_max: 5_000 },
  {
    rule: "promiseWaitsForStore",
    // From seed 0 it takes 75,913 schedules.
    what: "a promise does not name the record that is being stored",
    schedules_max: 5_000,
    from: 75_000,
  },
  {
    // From seed 0 it takes 27,724 schedules, and some 5,000 from one to the next.
    rule: "logMustBeValid",
    what: "a log that missed an unprotected time is restored",
    schedules_max: 10_000,
    from: 25_000,
  },
  {
    rule: "packageAfterPromise",
    what: "the package leaves before the source's promise is on disk",
    schedules_max: 5_000,
  },
  {
    rule: "letOutAgain",
    what: "a new owner does not let out again what may not have arrived",
    schedules_max: 5_000,
  },
  { rule: "runAfterVote", what: "a claimed VM runs before the second vote", schedules_max: 5_000 },
  {
    rule: "finalChecksBasis",
    what: "the second vote does not ask what was committed since the claim",
    schedules_max: 10_000,
    faults: [SILENT_FOR_A_LEASE],
  },
];

export function without(rule: keyof Rules): Rules {
  return { ...ALL_RULES, [rule]: false };
}
