import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { schedules } from "./arbitrary.ts";
import { play, playOne, replayCommand, summaryLine, tell } from "./play.ts";
import { scheduleOf } from "./schedule.ts";

const SCHEDULES = 100_000;

describe("txsync under simulated faults", () => {
  it("keeps every invariant in 100,000 schedules", { timeout: 300_000 }, () => {
    const summary = play({ from: 0, schedules: SCHEDULES });
    console.log(summaryLine(summary));
    const failures = summary.failures.map(({ seed, what }) => `${what}; again: ${replayCommand(seed)}`);
    expect(failures).toEqual([]);
    expect(summary.schedules).toBe(SCHEDULES);
    // The schedules reach far: agents in many different states together, many ways out.
    expect(summary.states).toBeGreaterThan(3_000);
    expect(summary.paths.size).toBeGreaterThan(500);
    expect(summary.recovered).toBeGreaterThan(SCHEDULES / 2);
  });

  it("keeps every invariant in schedules that fast-check makes, and shrinks one that does not", () => {
    fc.assert(
      fc.property(schedules, (schedule) => {
        const { violation } = playOne(schedule);
        if (violation !== null) throw new Error(`${violation.message}\n${tell(schedule).slice(-60).join("\n")}`);
      }),
      { numRuns: 3_000 },
    );
  });

  it("plays the same schedule the same way", () => {
    for (let seed = 0; seed < 50; seed += 1) expect(tell(scheduleOf(seed))).toEqual(tell(scheduleOf(seed)));
  });
});
