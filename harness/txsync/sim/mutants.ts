import { ALL_RULES, type Rules } from "../core/index.ts";

/** The core with one rule broken, and how many schedules the simulator may need to find out. */
export interface Mutant {
  readonly rule: keyof Rules;
  readonly what: string;
  readonly schedules_max: number;
  /** Schedules in which the harm is known to show, where a search would be long. */
  readonly seeds: readonly number[];
}

export const MUTANTS: readonly Mutant[] = [
  { rule: "promiseDurable", what: "a promise is sent before it is on disk", schedules_max: 20_000, seeds: [] },
  {
    rule: "refuseOldRecords",
    what: "the escrow commits records of an old generation",
    schedules_max: 20_000,
    seeds: [],
  },
  { rule: "gateWaitsForCommit", what: "the gate opens one transaction early", schedules_max: 20_000, seeds: [] },
  {
    rule: "unprotectedNeedsVote",
    what: "output leaves after the escrow's lease ran out, without a vote",
    schedules_max: 20_000,
    seeds: [],
  },
  {
    rule: "freeBindsForEver",
    what: "a promise of a free generation is given away again",
    schedules_max: 20_000,
    seeds: [],
  },
  {
    rule: "refuseWhileHearing",
    what: "an agent promises although it hears the owner",
    schedules_max: 20_000,
    seeds: [],
  },
  {
    rule: "restartOpensGeneration",
    what: "a restarted target goes on in its old generation",
    schedules_max: 20_000,
    seeds: [],
  },
  {
    rule: "promiseWaitsForStore",
    what: "a promise does not name the record that is being stored",
    schedules_max: 20_000,
    seeds: [],
  },
  {
    rule: "logMustBeValid",
    what: "a log that missed an unprotected time is restored",
    schedules_max: 20_000,
    seeds: [],
  },
  {
    rule: "packageAfterPromise",
    what: "the package leaves before the source's promise is on disk",
    schedules_max: 20_000,
    seeds: [],
  },
  {
    rule: "letOutAgain",
    what: "a new owner does not let out again what may not have arrived",
    schedules_max: 20_000,
    seeds: [],
  },
  { rule: "runAfterVote", what: "a claimed VM runs before the second vote", schedules_max: 20_000, seeds: [] },
  {
    rule: "sealOnPromise",
    what: "the target's gate stays open after it promised to another",
    schedules_max: 20_000,
    seeds: [],
  },
  {
    rule: "finalChecksBasis",
    what: "the second vote does not ask what was committed since the claim",
    schedules_max: 20_000,
    seeds: [],
  },
];

export function without(rule: keyof Rules): Rules {
  return { ...ALL_RULES, [rule]: false };
}
