import { MUTANTS, type Mutant, modelOf, without } from "../sim/mutants.ts";
import { type Counterexample, Search } from "./search.ts";
import { SETUPS, type Setup } from "./world.ts";

/** What the search made of a core in which one rule is off. */
export interface RuleFound {
  readonly rule: string;
  readonly what: string;
  /** `null`: not found within the bounds. */
  readonly counterexample: Counterexample | null;
  /** States until then, over all set-ups and depths. */
  readonly states: number;
  readonly elapsed_ms: number;
}

/** Rules whose harm needs what the search's world does not have, and what that is. */
export const NOT_HERE: Readonly<Record<string, string>> = {
  gapCostsWhatChanged: "a matter of how many bytes a gap costs; nothing has a size here",
  movingIsNotSilent: "a matter of how long bytes take; nothing has a size here",
  hollowIsNoProtection: "of a VM that is protected without a migration, which is not searched",
  adoptsOwnersBase: "of a VM that is protected without a migration, which is not searched",
  holdWaits: "of output that is held back while the escrow is silent, which is not searched",
  leavesWhenStored: "of a VM that is protected before it migrates, which is not searched",
  recordsWaitForBase: "of a VM that is protected before it migrates, which is not searched",
  restoresWhileWaiting: "of a VM that is protected before it migrates, which is not searched",
  claimNeedsBase: "of a VM that is protected without a migration, which is not searched",
  logTellsOpened: "of a VM that is protected without a migration, which is not searched",
  restoredStaysWhole: "of a VM that is protected when it was restored, which is not searched",
  refusedBaseComesAgain: "of output that is held back while the escrow is silent, which is not searched",
  replacedWhileUnprotected: "of another escrow that comes in the place of one that is gone, which is not searched",
};

/** Mutants that can do harm in this world. */
export function searchable(): readonly Mutant[] {
  return MUTANTS.filter(({ rule }) => rule !== null && NOT_HERE[rule] === undefined);
}

/** Whichever way a rule is missed first: nothing out of order, then one move, then two, of all set-ups in turn. */
export function searchWithout(mutant: Mutant, depth: number, states_max: number, until_ms?: number): RuleFound {
  const began_ms = performance.now();
  let states = 0;
  let counterexample: Counterexample | null = null;
  const time = until_ms === undefined ? {} : { until_ms };
  for (let d = 0; d <= depth && counterexample === null; d += 1) {
    for (const setup of SETUPS) {
      const broken: Setup = { ...setup, rules: without(mutant.rule), model: modelOf(mutant) };
      const found = new Search(broken, { depth: d, faults: d, states_max, ...time }).run();
      states += found.states;
      counterexample = found.counterexample;
      if (counterexample !== null) break;
    }
  }
  const elapsed_ms = Math.round(performance.now() - began_ms);
  return { rule: mutant.rule ?? "", what: mutant.what, counterexample, states, elapsed_ms };
}
