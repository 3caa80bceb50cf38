import { Search } from "../txsync/search/search.ts";
import { SETUPS } from "../txsync/search/world.ts";
import { CLAIM_GIVES_WAY, RUNS_AND_DIES_UNNOTED } from "../txsync/sim/directed.ts";
import { MUTANTS } from "../txsync/sim/mutants.ts";
import { play, type Summary } from "../txsync/sim/play.ts";
import { migratingScheduleOf, protectedScheduleOf } from "../txsync/sim/schedule.ts";

/** What a check of the core made of it. */
export interface CoreCheck {
  readonly by: "search" | "simulator";
  /** `null`: it found nothing. */
  readonly what: string | null;
  readonly tries: string;
  readonly elapsed_ms: number;
}

const STATES_MAX = 40_000;
const DEPTH = 2;
const SCHEDULES = 3_000;
const DIRECTED = 20;

/** Of a search for what the simulator has found: how soon it is found is the question, and not whether. */
const SHORT_STATES_MAX = 4_000;

/** The simulator and the search, with whatever core they were bundled with: what they find of it, and after how much. */
export function checkCore(): readonly CoreCheck[] {
  const simulated = timed("simulator", simulate);
  return [simulated, timed("search", () => search(simulated.what === null ? STATES_MAX : SHORT_STATES_MAX))];
}

function timed(by: CoreCheck["by"], check: () => { readonly what: string | null; readonly tries: string }): CoreCheck {
  const began_ms = performance.now();
  try {
    const found = check();
    return { by, ...found, elapsed_ms: Math.round(performance.now() - began_ms) };
  } catch (thrown) {
    // A core that cannot even be played with.
    const what = thrown instanceof Error ? `${thrown.name}: ${thrown.message}` : String(thrown);
    return { by, what, tries: "at once", elapsed_ms: Math.round(performance.now() - began_ms) };
  }
}

function search(states_max: number): { readonly what: string | null; readonly tries: string } {
  let states = 0;
  for (let depth = 0; depth <= DEPTH; depth += 1) {
    for (const setup of SETUPS) {
      const found = new Search(setup, { depth, faults: depth, states_max }).run();
      states += found.states;
      const { counterexample } = found;
      if (counterexample === null) continue;
      return { what: counterexample.what, tries: `${counterexample.depth} out of order, ${states} states` };
    }
  }
  return { what: null, tries: `${states} states` };
}

function simulate(): { readonly what: string | null; readonly tries: string } {
  let schedules = 0;
  const answer = (summary: Summary): string | null => {
    schedules += summary.schedules;
    return summary.failures[0]?.what ?? null;
  };
  for (const directed of [RUNS_AND_DIES_UNNOTED, CLAIM_GIVES_WAY, ...MUTANTS.map((mutant) => mutant.directed)]) {
    const shape = ({ seed }: { readonly seed: number }) => ({ ...directed, seed });
    const what = answer(play({ from: 0, schedules: DIRECTED, shape, failures_max: 1 }));
    if (what !== null) return { what, tries: `${schedules} schedules` };
  }
  const what =
    answer(play({ from: 0, schedules: SCHEDULES, failures_max: 1 })) ??
    answer(many(({ seed }) => protectedScheduleOf(seed))) ??
    answer(many(({ seed }) => migratingScheduleOf(seed)));
  return { what, tries: `${schedules} schedules` };
}

function many(shape: NonNullable<Parameters<typeof play>[0]["shape"]>): Summary {
  return play({ from: 0, schedules: SCHEDULES / 2, shape, failures_max: 1 });
}
