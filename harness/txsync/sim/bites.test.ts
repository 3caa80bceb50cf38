import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ALL_RULES, type Rules } from "../core/index.ts";
import { schedules } from "./arbitrary.ts";
import { MUTANTS, without } from "./mutants.ts";
import { play, playOne } from "./play.ts";
import { scheduleOf } from "./schedule.ts";

describe("the simulator bites", () => {
  it("knows a mutant for every rule", () => {
    expect(MUTANTS.map(({ rule }) => rule).sort()).toEqual((Object.keys(ALL_RULES) as (keyof Rules)[]).sort());
  });

  it.each(MUTANTS)("finds it when $what", { timeout: 120_000 }, ({ rule, seeds, schedules_max }) => {
    // A known schedule first where the harm is rare, then a search of bounded length.
    const rules = without(rule);
    const known = seeds.find((seed) => playOne(scheduleOf(seed), rules).violation !== null);
    if (known !== undefined) {
      expect(playOne(scheduleOf(known)).violation).toBeNull();
      return;
    }
    const summary = play({ from: 0, schedules: schedules_max, rules, failures_max: 1 });
    expect(summary.failures).toHaveLength(1);
    console.log(`${rule}: found after ${summary.schedules} schedules: ${summary.failures[0]?.what}`);
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
