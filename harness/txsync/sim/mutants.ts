import { ALL_RULES, type Rules } from "../core/index.ts";
import {
  ASKED_WHILE_STORING,
  BASE_IS_BACK_WHEN_GIVEN_UP,
  CLOCK_BEGINS_AGAIN,
  DIES_BEFORE_THE_FIRST_RECORD,
  DIES_UNHEARD,
  DISK_IS_FULL,
  type Directed,
  DROPPED_DURING_A_SLOW_TAKE,
  ESCROW_FORGETS,
  ESCROW_LOSES_BASE,
  ESCROW_LOSES_BASE_DURING_A_CLAIM,
  ESCROW_REPLACED_TARGET_DIES,
  ESCROW_SILENT_OUTPUT_HELD,
  LAST_RECORD_TAKES_LONG,
  LINK_BLINKS,
  LINK_BLINKS_TARGET_DIES,
  LINK_BLINKS_UNDER_LOAD,
  LOG_LOSES_ITS_TAIL,
  MORE_COMMITTED_SINCE_THE_CLAIM,
  NOBODY_KNOWS_WHAT_CHANGES,
  NOTHING,
  ONE_LINK_CUT,
  ONLY_THE_LOG_TELLS,
  PROTECTED_ALONE,
  PROTECTED_FOR_LONG,
  PROTECTED_MIGRATES,
  RECORD_COMES_LATE,
  RECORD_LOST,
  RESTORED_AGENT_RESTARTS,
  RESTORED_UNHEARD_AGENTS_RESTART,
  RUNS_UNHEARD,
  SLOW_LINK,
  SOURCE_DIES_AT_SWITCHOVER,
  SOURCE_DIES_WHILE_AHEAD,
  TARGET_ALONE,
  TARGET_AWAY,
  TARGET_DIES_LETTING_OUT,
  TARGET_QEMU_DIES,
  TARGET_RESTARTS_EARLY,
} from "./directed.ts";
import { type Model, TODAY } from "./model.ts";

/** The core with one rule broken, or a shell as it must not be, and a schedule that shows what comes of it. */
export interface Mutant {
  readonly rule: keyof Rules | null;
  readonly model?: Partial<Model>;
  readonly what: string;
  readonly directed: Directed;
  /** Where it shows at once. */
  readonly budget?: number;
}

/** Delays are drawn anew for each: so many schedules have to be enough, from whatever seed on. */
export const BUDGET = 60;

export const MUTANTS: readonly Mutant[] = [
  { rule: "promiseDurable", what: "a promise is sent before it is on disk", directed: ESCROW_FORGETS },
  { rule: "refuseOldRecords", what: "the escrow commits records of an old generation", directed: RECORD_COMES_LATE },
  { rule: "gateWaitsForCommit", what: "the gate opens one transaction early", directed: NOTHING },
  {
    rule: "unprotectedNeedsVote",
    what: "output leaves after the escrow's lease ran out, without a vote",
    directed: TARGET_ALONE,
  },
  { rule: "freeBindsForEver", what: "a promise of a free generation is given away again", directed: TARGET_AWAY },
  { rule: "refuseWhileHearing", what: "an agent promises although it hears the owner", directed: ONE_LINK_CUT },
  {
    rule: "restartOpensGeneration",
    what: "a restarted target goes on in its old generation",
    directed: TARGET_RESTARTS_EARLY,
  },
  {
    rule: "promiseWaitsForStore",
    what: "a promise does not name the record that is being stored",
    directed: ASKED_WHILE_STORING,
  },
  {
    rule: "logMustBeValid",
    what: "a log that missed an unprotected time is restored",
    directed: DIES_BEFORE_THE_FIRST_RECORD,
  },
  {
    rule: "packageAfterPromise",
    what: "the package leaves before the source's promise is on disk",
    directed: SOURCE_DIES_AT_SWITCHOVER,
  },
  {
    rule: "letOutAgain",
    what: "a new owner does not let out again what may not have arrived",
    directed: TARGET_DIES_LETTING_OUT,
  },
  { rule: "runAfterVote", what: "a claimed VM runs before the second vote", directed: TARGET_QEMU_DIES },
  {
    rule: "finalChecksBasis",
    what: "the second vote does not ask what was committed since the claim",
    directed: MORE_COMMITTED_SINCE_THE_CLAIM,
  },
  { rule: "sinceIsStored", what: "a record is relative to one that was only taken", directed: RECORD_LOST },
  {
    rule: "gapCostsWhatChanged",
    model: { oneThread: true, basePresent: true },
    what: "all that is present follows every gap, and leases wait for it",
    directed: LINK_BLINKS,
  },
  {
    rule: "gapCostsWhatChanged",
    model: { oneThread: true, basePresent: true },
    what: "all that is present follows every gap, leases wait for it, and the target dies",
    directed: LINK_BLINKS_TARGET_DIES,
  },
  {
    rule: "escrowDistrusts",
    model: { staleMark: true },
    what: "the escrow takes a record whose mark goes back",
    directed: NOTHING,
  },
  {
    rule: "escrowDistrusts",
    model: { dropForgets: true },
    what: "the escrow takes a record that lacks what changed",
    directed: DROPPED_DURING_A_SLOW_TAKE,
  },
  { rule: "protectionWhenCommitted", what: "protection is said to be on when it begins", directed: RECORD_LOST },
  { rule: "readyHoldsOutput", what: "output leaves before the restored VM is known to run", directed: RUNS_UNHEARD },
  {
    rule: "restoreWhatNeverRan",
    what: "a restored VM that died before it was known to run is given up",
    directed: DIES_UNHEARD,
  },
  {
    rule: "incarnationTellsLives",
    what: "a restarted agent is taken for an older word of itself",
    directed: CLOCK_BEGINS_AGAIN,
  },
  { rule: "lostTailVoidsLog", what: "a log that lost its tail is restored", directed: LOG_LOSES_ITS_TAIL },
  { rule: "movingIsNotSilent", what: "a record is sent again while it is still on its way", directed: SLOW_LINK },
  {
    rule: "failedStoreIsTriedAgain",
    what: "a record that the disk does not take waits ever longer, without a bound",
    directed: DISK_IS_FULL,
  },
  {
    rule: "untrackableGivesUp",
    what: "a target that cannot tell what changes keeps its gate shut",
    directed: NOBODY_KNOWS_WHAT_CHANGES,
  },
  {
    rule: "hollowIsNoProtection",
    what: "a VM counts as protected whose base the escrow has lost",
    directed: ESCROW_LOSES_BASE,
  },
  {
    rule: "adoptsOwnersBase",
    what: "the escrow throws base and log away for an offer that was long on its way",
    directed: PROTECTED_FOR_LONG,
  },
  {
    rule: "holdWaits",
    what: "output that is to be held back leaves while the escrow is silent",
    directed: ESCROW_SILENT_OUTPUT_HELD,
  },
  {
    rule: "leavesWhenStored",
    what: "a protected VM leaves before the escrow has its last transaction there",
    directed: LAST_RECORD_TAKES_LONG,
  },
  {
    rule: "recordsWaitForBase",
    what: "the target's records come before the escrow has the base that they are relative to",
    directed: PROTECTED_MIGRATES,
  },
  {
    rule: "restoresWhileWaiting",
    what: "a target that waits for a protected VM goes on waiting when the host of it is dead",
    directed: SOURCE_DIES_WHILE_AHEAD,
  },
  {
    rule: "claimNeedsBase",
    what: "a claim is kept for ever whose base is gone, and bars the VM that still stands elsewhere",
    directed: ESCROW_LOSES_BASE_DURING_A_CLAIM,
  },
  {
    rule: "logTellsOpened",
    what: "an escrow that comes up again tells nobody of the generation that its log is of",
    directed: ONLY_THE_LOG_TELLS,
  },
  {
    rule: "restoredStaysWhole",
    what: "an agent that comes up again forgets that the VM which was restored here is whole",
    directed: RESTORED_AGENT_RESTARTS,
  },
  {
    rule: "restartKnowsOrigin",
    what: "an agent that comes up again throws away what it has restored for a word of what was before its claim",
    directed: RESTORED_UNHEARD_AGENTS_RESTART,
  },
  {
    rule: "refusedBaseComesAgain",
    what: "an owner that holds its output back offers for ever a base that the escrow refuses",
    directed: BASE_IS_BACK_WHEN_GIVEN_UP,
  },
  {
    rule: "replacedWhileUnprotected",
    what: "another escrow is counted that knows of no promise of the one before",
    directed: ESCROW_REPLACED_TARGET_DIES,
  },
  {
    rule: null,
    model: { armedLate: true },
    what: "what changes is tracked from when the memory was copied, not from before",
    directed: PROTECTED_ALONE,
  },
  {
    rule: null,
    model: { copyTakesAll: true },
    what: "between two pieces of a record the escrow takes as much of the base as there is",
    directed: LINK_BLINKS_UNDER_LOAD,
    budget: 12,
  },
  {
    rule: null,
    model: { deadLines: true },
    what: "a connection that was dialled into a cut link is not dialled anew when its peer is heard again",
    directed: LINK_BLINKS_UNDER_LOAD,
    budget: 12,
  },
  {
    rule: null,
    model: { longTurns: true },
    what: "of a connection is read on while more comes",
    directed: LINK_BLINKS_UNDER_LOAD,
    budget: 12,
  },
];

export function without(rule: keyof Rules | null): Rules {
  return rule === null ? ALL_RULES : { ...ALL_RULES, [rule]: false };
}

export function modelOf({ model }: Mutant): Model {
  return { ...TODAY, ...model };
}
