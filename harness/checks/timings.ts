import type { RunTimings } from "../base/run-record.ts";
import type { RunPhase, TimelineEvent } from "../base/timeline.ts";
import { recoveryTimings } from "./recovery-timings.ts";

const PHASES = {
  fleet_ms: "fleet",
  boot_ms: "boot",
  migration_ms: "migrate",
  check_ms: "check",
} as const satisfies Readonly<Record<string, RunPhase>>;

/**
 * How long everything took, ms: a function of the timeline. `total_ms` is when the last of these events came.
 * @param arrived whether there is a VM at the end: one that never came back was not down, it is lost
 */
export function timingsOf(events: readonly TimelineEvent[], arrived: boolean): RunTimings {
  const end_ms = events.at(-1)?.at_ms ?? 0;
  const begun = events.flatMap((event) =>
    event.kind === "run.phase" ? [{ phase: event.phase, at_ms: event.at_ms }] : [],
  );
  const spent = (wanted: RunPhase): number =>
    begun.reduce(
      (sum, { phase, at_ms }, n) => sum + (phase === wanted ? (begun[n + 1]?.at_ms ?? end_ms) - at_ms : 0),
      0,
    );
  const phases = Object.entries(PHASES).map(([name, phase]) => [name, Math.round(spent(phase))]);
  const downtime_ms = arrived ? stillnessMs(events) : undefined;
  return {
    total_ms: Math.round(end_ms),
    ...Object.fromEntries(phases),
    ...(downtime_ms === undefined ? {} : { downtime_ms }),
    ...recoveryTimings(events),
  };
}

/**
 * The longest time in which the guest was not seen to get further, anywhere, while it was carried over, to 50 ms or so;
 * undefined where nobody looked that long.
 */
function stillnessMs(events: readonly TimelineEvent[]): number | undefined {
  let carrying: boolean | undefined;
  let furthest = -1;
  let moved_ms: number | undefined;
  let longest_ms = 0;
  for (const event of events) {
    if (event.kind === "run.phase") {
      if (carrying === true) return Math.round(longest_ms);
      carrying = event.phase === "migrate";
    }
    // What the guest tells the world comes later than it happened, and counts each processor for itself.
    if (carrying !== true || event.kind !== "guest.progress" || event.outside === true || event.step <= furthest)
      continue;
    if (moved_ms !== undefined) longest_ms = Math.max(longest_ms, event.at_ms - moved_ms);
    furthest = event.step;
    moved_ms = event.at_ms;
  }
  return undefined;
}
