import type { RunTimings } from "../base/run-record.ts";
import type { RunPhase, TimelineEvent } from "../base/timeline.ts";
import { recoveryTimings } from "./recovery-timings.ts";
import { stillnessOf } from "./stillness.ts";

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
  return {
    total_ms: Math.round(end_ms),
    ...Object.fromEntries(phases),
    ...(arrived ? stillnessOf(events) : {}),
    ...recoveryTimings(events),
  };
}
