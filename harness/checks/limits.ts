import type { RunTimings } from "../base/run-record.ts";
import type { Check } from "./check.ts";
import { timingsOf } from "./timings.ts";
import { vmRunning } from "./vm-running.ts";

/** The times and counts of a run that a scenario may set a limit to, by the names that people use for them. */
export const LIMITED = {
  stillness: { timing: "downtime_ms", what: "longest stillness", unit: "ms" },
  detect: { timing: "detect_ms", what: "detection", unit: "ms" },
  recover: { timing: "recover_ms", what: "recovery", unit: "ms" },
  migration: { timing: "migration_ms", what: "migration", unit: "ms" },
  "pause-p50": { timing: "pause_p50_ms", what: "median pause", unit: "ms" },
  "pause-p99": { timing: "pause_p99_ms", what: "99th percentile of pauses", unit: "ms" },
  "pause-max": { timing: "pause_max_ms", what: "longest pause", unit: "ms" },
  "lost-steps": { timing: "lost_steps", what: "steps lost", unit: "" },
  "agent-memory": { timing: "agent_rss_max_mib", what: "memory of the largest agent", unit: "MiB" },
} as const satisfies Readonly<Record<string, { timing: keyof RunTimings; what: string; unit: "ms" | "MiB" | "" }>>;

export type LimitedName = keyof typeof LIMITED;
export const LIMITED_NAMES = Object.keys(LIMITED) as readonly LimitedName[];

function isLimited(name: string): name is LimitedName {
  return Object.hasOwn(LIMITED, name);
}

/**
 * Whether a run kept to its scenario's limits. A time that the run does not have (nothing was detected, nothing restored)
 * keeps to no limit: nobody has seen it. It says nothing of the VM, and changes no verdict, but a run that breaks a limit
 * is not as expected.
 */
export const limits: Check = {
  name: "limits",
  false_means: "untidy",
  applies: ({ scenario }) => (scenario.limits ?? []).length > 0,
  judge(seen) {
    const timings = timingsOf(seen.events, vmRunning.judge(seen).verdict !== false);
    const set = seen.scenario.limits ?? [];
    const stranger = set.find(({ of }) => !isLimited(of));
    if (stranger !== undefined) return { verdict: "unknown", summary: `nobody here knows a limit of ${stranger.of}` };
    const measured = set.flatMap(({ of, most }) =>
      isLimited(of) ? [{ of, most, found: timings[LIMITED[of].timing] }] : [],
    );
    const broken = measured.filter(({ most, found }) => found === undefined || found > most);
    const said = (broken.length > 0 ? broken : measured).map(({ of, most, found }) => {
      const { what, unit } = LIMITED[of];
      const is = found === undefined ? "is not there" : `is ${found} ${unit}`.trim();
      return `${what} ${is}, at most ${most} ${unit}`.trim();
    });
    return {
      verdict: broken.length === 0,
      summary: said.join("; "),
      evidence: measured.map(({ of, most, found }) => ({ of, most, found: found ?? null })),
    };
  },
};
