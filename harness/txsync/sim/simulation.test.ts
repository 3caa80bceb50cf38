import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { schedules } from "./arbitrary.ts";
import {
  BACK_IN_A_FREEZE_THAT_LASTS,
  CLAIM_GIVES_WAY,
  type Directed,
  DROPPED_DURING_A_SLOW_TAKE,
  LINK_BLINKS,
  LINK_BLINKS_TARGET_DIES,
  LOG_AND_ITS_MEMORY_LOST,
  RESTORED_UNHEARD_AGENTS_RESTART,
  RESTORED_UNHEARD_AND_GONE,
  RUNS_AND_DIES_UNNOTED,
  SLOW_PACKAGE,
  STRUCK_AFTER_A_LONG_CALM,
} from "./directed.ts";
import { play, playOne, replayCommand, summaryLine, tell } from "./play.ts";
import { scheduleOf } from "./schedule.ts";

/** Of the same seeds `npm run simulate` plays as many as there is time for. */
const SCHEDULES = 12_000;
const DIRECTED = 40;

/** What the told schedule asked to be taken, one a line. */
function taken(directed: Directed, seed: number): readonly string[] {
  return tell({ ...directed, seed }).filter((line) => line.includes('{"kind":"takeTransaction"'));
}

describe("txsync under simulated faults", () => {
  it(`keeps every invariant in ${SCHEDULES} schedules`, { timeout: 300_000 }, () => {
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
      { numRuns: 2_000 },
    );
  });

  it.each([
    { what: "a large guest's link to the escrow blinks", directed: LINK_BLINKS },
    { what: "it blinks, and then the target's host dies", directed: LINK_BLINKS_TARGET_DIES },
    { what: "who claims it cannot restore it, and gives way", directed: CLAIM_GIVES_WAY },
    { what: "a transaction is dropped while it is taken, slowly", directed: DROPPED_DURING_A_SLOW_TAKE },
    { what: "agents restart that forget whose claim was opened", directed: RESTORED_UNHEARD_AGENTS_RESTART },
    { what: "they do, and what was restored is gone by then", directed: RESTORED_UNHEARD_AND_GONE },
  ])("brings VM and protection back when $what", ({ directed }) => {
    for (let seed = 0; seed < DIRECTED; seed += 1) {
      const { violation, live } = playOne({ ...directed, seed });
      expect(violation, `seed ${seed}`).toBeNull();
      expect(live, `seed ${seed}`).toBe(true);
    }
  });

  it("does not restore a VM again that was known to run, whatever its agent forgot", () => {
    for (let seed = 0; seed < DIRECTED; seed += 1)
      expect(playOne({ ...RUNS_AND_DIES_UNNOTED, seed }).violation, `seed ${seed}`).toBeNull();
  });

  it("restores nothing of a log that lost records, whose escrow died again before it had noted so", () => {
    expect(playOne(scheduleOf(770_002_170)).violation).toBeNull();
  });

  // Found in the first million: the simulator was wrong, and said that the core is.
  it.each([
    {
      what: "what waits for a frozen host comes in its order, frozen for longer or not",
      directed: BACK_IN_A_FREEZE_THAT_LASTS,
      first: 0,
    },
    {
      what: "a QEMU that died since the last look is no working VM",
      directed: STRUCK_AFTER_A_LONG_CALM,
      first: 140_233_430,
    },
    {
      what: "nobody is to know what a disk and the memory of it lost together",
      directed: LOG_AND_ITS_MEMORY_LOST,
      first: 0,
    },
  ])("is not blamed: $what", ({ directed, first }) => {
    for (let seed = first; seed < first + DIRECTED; seed += 1)
      expect(playOne({ ...directed, seed }).violation, `seed ${seed}`).toBeNull();
  });

  it("pays after a gap for what changed in it, never again for all that ever did", () => {
    for (let seed = 0; seed < DIRECTED; seed += 1) {
      const lines = taken(LINK_BLINKS, seed);
      expect(lines.filter((line) => line.includes('"since":"base"'))).toHaveLength(1);
      expect(lines.length).toBeGreaterThan(3);
    }
  });

  it("does not send a package again and again that takes longer than half a lease", () => {
    for (let seed = 0; seed < DIRECTED; seed += 1) {
      expect(playOne({ ...SLOW_PACKAGE, seed }).violation).toBeNull();
      const packages = tell({ ...SLOW_PACKAGE, seed }).filter((line) => line.includes('source -> {"kind":"send"'));
      // The word that it is there may take longer than half a lease.
      expect(packages.filter((line) => line.includes('{"kind":"package"')).length).toBeLessThanOrEqual(2);
    }
  });

  it("plays the same schedule the same way", () => {
    for (let seed = 0; seed < 50; seed += 1) expect(tell(scheduleOf(seed))).toEqual(tell(scheduleOf(seed)));
  });
});
