import type { TimelineEvent } from "../base/timeline.ts";
import type { Check } from "./check.ts";
import { instancesOf } from "./instances.ts";
import { type Told, toldBack, toldBy } from "./told-back.ts";

/**
 * The guest's monotonic clock, as it tells it on its console, never goes back. Its wall clock stands while the VM does, and
 * nobody sets it: how far it has fallen behind is told, and is nobody's failing.
 */
export const clocks: Check = {
  name: "clocks",
  false_means: "rollback",
  applies: ({ evidence, events }) => !evidence.held_still && tellingTheTime(events).length > 0,
  judge({ events }) {
    const lines = tellingTheTime(events);
    const back = toldBack(lines, instancesOf(events), ({ ran_ms }) => ran_ms);
    const behind_ms = wallClockBehind_ms(lines);
    const evidence = { lines: lines.length, ...(behind_ms === undefined ? {} : { behind_ms }) };
    if (back !== undefined) {
      const { before, after, by } = back;
      const [was, is] = [before, after].map(({ ran_ms, host }) => `${ran_ms} ms on ${host}`);
      return { verdict: false, summary: `the guest's clock went back by ${by} ms: from ${was} to ${is}`, evidence };
    }
    if (lines.length < 2) return { verdict: "unknown", summary: "the guest told the time once", evidence };
    const behind = behind_ms === undefined ? "" : `; its wall clock is ${behind_ms} ms behind where it was`;
    return { verdict: true, summary: `the guest's clock never went back in ${lines.length} lines${behind}`, evidence };
  },
};

function tellingTheTime(events: readonly TimelineEvent[]): readonly Told[] {
  return toldBy(events).filter(({ ran_ms, wall_ms }) => ran_ms !== undefined && wall_ms !== undefined);
}

/**
 * By how much less the wall clock went on from the first line to the last than the run's, ms: as exact as lines come in time,
 * which is some tens of milliseconds, and an epoch where output waits.
 */
function wallClockBehind_ms(lines: readonly Told[]): number | undefined {
  const [first, last] = [lines[0], lines.at(-1)];
  if (first?.wall_ms === undefined || last?.wall_ms === undefined || first === last) return undefined;
  return Math.round(last.at_ms - first.at_ms - (last.wall_ms - first.wall_ms));
}
