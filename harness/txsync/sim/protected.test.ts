import { describe, expect, it } from "vitest";
import {
  BASE_IS_BACK_WHEN_GIVEN_UP,
  CLAIMING_HOST_DIES_BEFORE_THE_SECOND_VOTE,
  ESCROW_LOSES_BASE,
  ESCROW_LOSES_BASE_DURING_A_CLAIM,
  ESCROW_LOSES_BASE_HOST_DIES,
  ESCROW_REPLACED,
  ESCROW_REPLACED_AND_RESTARTED,
  ESCROW_REPLACED_HOST_DIES,
  ESCROW_SILENT_OUTPUT_HELD,
  HELD_AND_CUT_OFF,
  LOST_WITH_ITS_LOG_OUTPUT_HELD,
  OFFERS_ARE_HEARD_LATE,
  ONLY_THE_LOG_TELLS,
  PROTECTED_HOST_DIES,
  PROTECTED_MIGRATES,
  PROTECTED_MIGRATES_FOR_GOOD,
  PROTECTED_QEMU_DIES,
  RESTORED_AGENT_RESTARTS,
  RESTORED_UNHEARD_ESCROW_GONE,
  SOURCE_DIES_BEFORE_IT_LETS_GO,
  SOURCE_DIES_WHEN_IT_LETS_GO,
  SOURCE_DIES_WHILE_AHEAD,
  TARGET_DIES_AFTER_HANDOFF,
  TARGET_DIES_AS_IT_LOADS,
} from "./directed.ts";
import { play, playOne, summaryLine, tell } from "./play.ts";
import { migratingScheduleOf, protectedScheduleOf } from "./schedule.ts";

const SCHEDULES = 4_000;
const MIGRATING = 4_000;
const DIRECTED = 40;

describe("protection beside a migration, under simulated faults", () => {
  it(`keeps every invariant in ${SCHEDULES} schedules`, { timeout: 300_000 }, () => {
    const summary = play({ from: 0, schedules: SCHEDULES, shape: ({ seed }) => protectedScheduleOf(seed) });
    console.log(summaryLine(summary));
    const failures = summary.failures.map(({ seed, what }) => `${what}; seed ${seed}`);
    expect(failures).toEqual([]);
    expect(summary.schedules).toBe(SCHEDULES);
    expect(summary.paths.size).toBeGreaterThan(200);
    expect(summary.recovered).toBeGreaterThan(SCHEDULES / 2);
  });

  it(`keeps every invariant in ${MIGRATING} schedules of a VM that is protected, and then migrates`, {
    timeout: 300_000,
  }, () => {
    const summary = play({ from: 0, schedules: MIGRATING, shape: ({ seed }) => migratingScheduleOf(seed) });
    console.log(summaryLine(summary));
    const failures = summary.failures.map(({ seed, what }) => `${what}; seed ${seed}`);
    expect(failures).toEqual([]);
    expect(summary.schedules).toBe(MIGRATING);
    expect(summary.paths.size).toBeGreaterThan(200);
    expect(summary.recovered).toBeGreaterThan(MIGRATING / 2);
  });

  it.each([
    { what: "its host dies", directed: PROTECTED_HOST_DIES, path: /target:claim target:final/ },
    { what: "its QEMU dies", directed: PROTECTED_QEMU_DIES, path: /source:claim source:final/ },
    {
      what: "it was handed off, and its host dies",
      directed: TARGET_DIES_AFTER_HANDOFF,
      path: /source:claim source:final/,
    },
    { what: "the escrow loses the base", directed: ESCROW_LOSES_BASE, path: /source:unprotected source:protected/ },
    {
      what: "the escrow loses the base, and then its host dies",
      directed: ESCROW_LOSES_BASE_HOST_DIES,
      path: /source:unprotected source:protected target:claim target:final/,
    },
    {
      what: "another escrow comes in the place of one that is gone",
      directed: ESCROW_REPLACED,
      path: /^source:protected source:unprotected source:protected $/,
    },
    {
      what: "another escrow has come, and then its host dies",
      directed: ESCROW_REPLACED_HOST_DIES,
      path: /source:unprotected source:protected target:claim target:final/,
    },
    {
      what: "agents restart while another escrow comes",
      directed: ESCROW_REPLACED_AND_RESTARTED,
      path: /^source:protected source:unprotected .*source:protected /,
    },
    {
      what: "it was only frozen, and the escrow loses the base that it is claimed from",
      directed: ESCROW_LOSES_BASE_DURING_A_CLAIM,
      path: /^source:protected target:claim source:(protected|unprotected)/,
    },
    {
      what: "it is claimed while its agent is away, and the claiming host dies before the second vote",
      directed: CLAIMING_HOST_DIES_BEFORE_THE_SECOND_VOTE,
      path: /^source:protected target:claim source:protected/,
    },
    {
      what: "its host dies, and nobody is left to tell of its generation but the escrow's log",
      directed: ONLY_THE_LOG_TELLS,
      path: /^source:protected target:claim target:final/,
    },
    {
      what: "output is held back while the escrow is silent",
      directed: ESCROW_SILENT_OUTPUT_HELD,
      path: /^source:protected $/,
    },
    {
      what: "output is held back, and nobody hears the host where it waits",
      directed: HELD_AND_CUT_OFF,
      path: /^source:protected target:claim target:final/,
    },
    {
      what: "it was claimed, restored and lost again, and then the escrow is gone too",
      directed: RESTORED_UNHEARD_ESCROW_GONE,
      path: /^target:protected .*source:claim .*target:unprotected/,
    },
    { what: "it migrates", directed: PROTECTED_MIGRATES, path: /^source:protected target:protected .*target:final/ },
    {
      what: "it migrates, and protection goes on",
      directed: PROTECTED_MIGRATES_FOR_GOOD,
      path: /^source:protected (target:protected [^:]*)+$/,
    },
    {
      what: "its host dies while memory goes ahead",
      directed: SOURCE_DIES_WHILE_AHEAD,
      path: /^source:protected target:claim target:final/,
    },
    {
      what: "its host dies when the last transaction there is stored",
      directed: SOURCE_DIES_BEFORE_IT_LETS_GO,
      path: /^source:protected target:claim target:final/,
    },
    {
      what: "its host dies as it lets the package go",
      directed: SOURCE_DIES_WHEN_IT_LETS_GO,
      path: /^source:protected target:(protected|claim)/,
    },
    {
      what: "the target dies as it loads",
      directed: TARGET_DIES_AS_IT_LOADS,
      path: /^source:protected target:protected .*source:claim source:final/,
    },
    {
      what: "it was restored, and its agent comes up again before it is protected there",
      directed: RESTORED_AGENT_RESTARTS,
      path: /^(source:protected )+target:/,
    },
    {
      what: "the escrow has a base after all that its owner has given up for lost",
      directed: BASE_IS_BACK_WHEN_GIVEN_UP,
      path: /^target:protected /,
    },
  ])("has the VM run when $what", ({ directed, path }) => {
    for (let seed = 0; seed < DIRECTED; seed += 1) {
      const outcome = playOne({ ...directed, seed });
      expect(outcome.violation, `seed ${seed}`).toBeNull();
      expect(outcome.live, `seed ${seed}`).toBe(true);
      expect(outcome.path, `seed ${seed}`).toMatch(path);
    }
  });

  it.each([
    { what: "what is void already is given up for another base", directed: LOST_WITH_ITS_LOG_OUTPUT_HELD },
    { what: "the escrow hears late what it is offered", directed: OFFERS_ARE_HEARD_LATE },
  ])("finds nothing wrong when $what", ({ directed }) => {
    for (let seed = 0; seed < 5 * DIRECTED; seed += 1)
      expect(playOne({ ...directed, seed }).violation, `seed ${seed}`).toBeNull();
  });

  // The VM's host is lost just when it goes on unprotected, or is about to be protected again, and the escrow has not heard
  // of that.
  it.each([568_814, 592_375, 1_200_700])("restores nothing that lacks what went out freely (schedule %d)", (seed) => {
    expect(playOne(protectedScheduleOf(seed)).violation).toBeNull();
  });

  // The target's agent is away, the VM is restored beside it, and then the escrow and half of the second vote are gone.
  it("has the VM run of which two hosts have one each, and neither is known to be the one (schedule 632784)", () => {
    expect(playOne(protectedScheduleOf(632_784))).toMatchObject({ violation: null, live: true });
  });

  it.each([516_029, 660_634, 1_130_392])(
    "leaves a restored VM alone whose output waits for the escrow, as it was asked to (schedule %d)",
    (seed) => {
      expect(playOne(protectedScheduleOf(seed))).toMatchObject({ violation: null, live: false });
    },
  );

  // The VM's first host says late, or twice, that it let it go: nobody's base is another one for that.
  it.each([2_023_320, 2_028_997])("has the base follow once, and no other one (schedule %d)", (seed) => {
    expect(playOne(migratingScheduleOf(seed)).violation).toBeNull();
  });

  it("lets nothing out over the word of an escrow whose host came up without its base (schedule 1025109)", () => {
    expect(playOne(protectedScheduleOf(1_025_109)).violation).toBeNull();
  });

  it("plays the same schedule the same way", () => {
    for (let seed = 0; seed < 30; seed += 1) {
      expect(tell(protectedScheduleOf(seed))).toEqual(tell(protectedScheduleOf(seed)));
      expect(playOne(protectedScheduleOf(seed)).violation).toBeNull();
    }
  });
});
