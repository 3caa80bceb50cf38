import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ALL_RULES, type Rules } from "../core/index.ts";
import { schedules } from "./arbitrary.ts";
import { MUTANTS, type Mutant, without } from "./mutants.ts";
import { play, playOne, type Summary } from "./play.ts";
import type { Schedule } from "./schedule.ts";

function search(mutant: Mutant, rules: Rules, schedules: number): Summary {
  const { faults } = mutant;
  const shape = (schedule: Schedule): Schedule =>
    faults === undefined ? schedule : { ...schedule, nervous: false, durability: "process", faults };
  return play({ from: mutant.from ?? 0, schedules, rules, shape, failures_max: 1 });
}

describe("the simulator bites", () => {
  it("knows a mutant for every rule", () => {
    expect(MUTANTS.map(({ rule }) => rule).sort()).toEqual((Object.keys(ALL_RULES) as (keyof Rules)[]).sort());
  });

  it.each(MUTANTS)("finds it when $what", { timeout: 240_000 }, (mutant) => {
    const { failures, schedules } = search(mutant, without(mutant.rule), mutant.schedules_max);
    expect(failures).toHaveLength(1);
    console.log(`${mutant.rule}: found after ${schedules} schedules: ${failures[0]?.what}`);
    // With the rule in force the very same schedules do no harm.
    expect(search(mutant, ALL_RULES, Math.min(schedules, 3_000)).failures).toEqual([]);
  });

  it("shrinks a broken rule to a small schedule", () => {
    const rules = without("gateWaitsForCommit");
    const found = fc.check(
      fc.property(schedules, (schedule) => playOne(schedule, rules).violation === null),
      { numRuns: 200, seed: 1 },
    );
    expect(found.failed).toBe(true);
    const [smallest] = found.counterexample ?? [];
    expect(smallest?.faults).toEqual([]);
  });
});
