import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ALL_RULES, type Rules } from "../core/index.ts";
import { schedules } from "./arbitrary.ts";
import { type Directed, DROPPED_DURING_A_SLOW_TAKE, NOTHING } from "./directed.ts";
import { isSabotaged, TODAY } from "./model.ts";
import { BUDGET, MUTANTS, modelOf, without } from "./mutants.ts";
import { type Mutation, play, playOne, type Summary } from "./play.ts";

/** Two places to begin that nobody has chosen for what they find. */
const FROM = [0, 1_000_000] as const;

function search(directed: Directed, from: number, schedules: number, how: Mutation): Summary {
  return play({ ...how, from, schedules, shape: ({ seed }) => ({ ...directed, seed }), failures_max: 1 });
}

describe("the simulator bites", () => {
  it("knows a mutant for every rule", () => {
    const known = new Set(MUTANTS.flatMap(({ rule }) => rule ?? []));
    expect([...known].sort()).toEqual((Object.keys(ALL_RULES) as (keyof Rules)[]).sort());
  });

  it.each(MUTANTS)("finds it when $what", (mutant) => {
    const model = modelOf(mutant);
    const { budget = BUDGET } = mutant;
    for (const from of FROM) {
      const { failures, schedules } = search(mutant.directed, from, budget, { rules: without(mutant.rule), model });
      expect(failures, `${schedules} schedules from seed ${from}`).toHaveLength(1);
      console.log(
        `${mutant.rule ?? Object.keys(mutant.model ?? {})}: found after ${schedules} schedules from seed ${from}: ${failures[0]?.what}`,
      );
      // With the rule in force the very same schedules do no harm.
      expect(search(mutant.directed, from, budget, {}).failures).toEqual([]);
    }
  });

  it.each([
    { what: "a mark that goes back", directed: NOTHING, model: { ...TODAY, staleMark: true } },
    { what: "pages that are missing", directed: DROPPED_DURING_A_SLOW_TAKE, model: { ...TODAY, dropForgets: true } },
  ])("has the escrow refuse $what, and say so, and nothing of it committed", ({ directed, model }) => {
    expect(isSabotaged(model)).toBe(true);
    let told = 0;
    for (let seed = 0; seed < BUDGET; seed += 1) {
      const { violation, reported } = playOne({ ...directed, seed }, { model });
      expect(violation).toBeNull();
      if (reported.length > 0) told += 1;
    }
    expect(told).toBeGreaterThan(BUDGET / 2);
  });

  it("shrinks a broken rule to a small schedule", () => {
    const rules = without("gateWaitsForCommit");
    const found = fc.check(
      fc.property(schedules, (schedule) => playOne(schedule, { rules }).violation === null),
      { numRuns: 200, seed: 1 },
    );
    expect(found.failed).toBe(true);
    const [smallest] = found.counterexample ?? [];
    expect(smallest?.faults).toEqual([]);
  });
});
