import { describe, expect, it } from "vitest";
import { LINK_BLINKS_UNDER_LOAD } from "./directed.ts";
import { play, playOne, summaryLine, tell } from "./play.ts";
import { connectedScheduleOf } from "./schedule.ts";

/** Each is seven times as much work as one whose links carry everything at once. */
const SCHEDULES = 240;
const DIRECTED = 12;

describe("txsync over connections that are dialled, greeted and read in turn", () => {
  it(`keeps every invariant in ${SCHEDULES} schedules, and protection is back in time`, { timeout: 300_000 }, () => {
    const summary = play({ from: 0, schedules: SCHEDULES, shape: ({ seed }) => connectedScheduleOf(seed) });
    console.log(summaryLine(summary));
    expect(summary.failures.map(({ seed, what }) => `${what}; seed ${seed}`)).toEqual([]);
    expect(summary.schedules).toBe(SCHEDULES);
    expect(summary.paths.size).toBeGreaterThan(10);
    expect(summary.recovered).toBeGreaterThan(SCHEDULES / 2);
  });

  it("brings protection back when a busy guest's link to the escrow blinks", () => {
    for (let seed = 0; seed < DIRECTED; seed += 1) {
      const { violation, live, path } = playOne({ ...LINK_BLINKS_UNDER_LOAD, seed });
      expect(violation, `seed ${seed}`).toBeNull();
      expect(live, `seed ${seed}`).toBe(true);
      expect(path, `seed ${seed}`).toMatch(
        /^target:protected (via-escrow direct )?target:unprotected target:protected /,
      );
    }
  });

  it("dials anew whom it has heard again, also where the silence fell between two heartbeats", () => {
    const { violation, live } = playOne(connectedScheduleOf(5680));
    expect({ violation, live }).toEqual({ violation: null, live: true });
  });

  it("plays the same schedule the same way", () => {
    for (let seed = 0; seed < 4; seed += 1)
      expect(tell(connectedScheduleOf(seed))).toEqual(tell(connectedScheduleOf(seed)));
  });
});
