import type { CheckResult, Recovery, RunTimings } from "../base/run-record.ts";
import type { TimelineEvent, Verdict } from "../base/timeline.ts";
import { isAtLeast } from "../qemu/versions.ts";
import type { Scenario } from "./scenario.ts";
import { faultId } from "./trigger.ts";

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
} as const satisfies Readonly<Record<string, { timing: keyof RunTimings; what: string; unit: "ms" | "" }>>;

export type LimitedName = keyof typeof LIMITED;
export const LIMITED_NAMES = Object.keys(LIMITED) as readonly LimitedName[];

/** What a run of the scenario may take at most; in milliseconds, or a count. */
export interface Limit {
  readonly of: LimitedName;
  readonly most: number;
  /** Only under this recovery; absent: under each. */
  readonly under?: Recovery;
}

/** "10.2": major and minor. */
export type QemuSince = `${number}.${number}`;

/** What comes out with some versions of QEMU only, and why. */
export interface ExpectedOn {
  readonly under: Recovery;
  /** Both optional, one of them there: from this version on, and before that one. */
  readonly from?: QemuSince;
  readonly before?: QemuSince;
  readonly verdict: Verdict;
  /** One sentence: what is different there. */
  readonly why: string;
}

/** A verdict that is as expected too. */
export interface AllowedToo {
  readonly under: Recovery;
  readonly verdict: Verdict;
  /** One sentence: how it may come to it. */
  readonly why: string;
}

export interface Expected {
  readonly verdict: Verdict;
  /** What is as expected besides. */
  readonly too?: readonly AllowedToo[];
  /** Why it is another one than the scenario's with this version. */
  readonly why?: string;
}

/**
 * What ought to come out with a version of QEMU ("10.0.13 (Debian …)"): what the first entry says that is for it, else
 * the scenario's own word for the recovery. "unknown" where it has none.
 */
export function expectedOf(scenario: Scenario, recovery: Recovery, qemu_version: string): Expected {
  const version = versionIn(qemu_version);
  const found =
    version === undefined
      ? undefined
      : scenario.expect_on?.find(({ under, from, before }) => {
          const since = from === undefined || reaches(version, from);
          return under === recovery && since && (before === undefined || !reaches(version, before));
        });
  if (found !== undefined) return { verdict: found.verdict, why: found.why };
  const too = (scenario.allow ?? []).filter(({ under }) => under === recovery);
  return { verdict: scenario.expect[recovery] ?? "unknown", ...(too.length === 0 ? {} : { too }) };
}

/** Whether a verdict is one of those that ought to come out. */
export function isExpected({ verdict, too = [] }: Expected, found: Verdict): boolean {
  return found === verdict || too.some((other) => other.verdict === found);
}

interface Version {
  readonly major: number;
  readonly minor: number;
}

function versionIn(text: string): Version | undefined {
  const found = /(\d+)\.(\d+)/.exec(text);
  return found === null ? undefined : { major: Number(found[1]), minor: Number(found[2]) };
}

function reaches(version: Version, since: QemuSince): boolean {
  const { major = 0, minor = 0 } = versionIn(since) ?? {};
  return isAtLeast(version, major, minor);
}

/** What a run has to keep besides its verdict, and what of it was broken, as one sentence. */
export function besidesVerdict(
  scenario: Scenario,
  recovery: Recovery,
  timings: RunTimings,
  events: readonly TimelineEvent[],
): { readonly results: readonly CheckResult[]; readonly broken: string | undefined } {
  const results = [limitsKept(scenario, recovery, timings), answersKept(scenario, events)].flatMap(
    (result) => result ?? [],
  );
  const broken = results.filter(({ verdict }) => verdict !== true).map(({ summary }) => summary);
  return { results, broken: broken.length === 0 ? undefined : broken.join("; ") };
}

/**
 * Whether a run kept to its scenario's limits; undefined where it has none. A time that the run does not have (nothing
 * was detected, nothing restored) keeps to no limit: nobody has seen it. It is no check of the VM, and changes no
 * verdict, but a run that breaks a limit is not as expected.
 */
export function limitsKept(scenario: Scenario, recovery: Recovery, timings: RunTimings): CheckResult | undefined {
  const limits = (scenario.limits ?? []).filter(({ under }) => under === undefined || under === recovery);
  if (limits.length === 0) return undefined;
  const measured = limits.map(({ of, most }) => ({ of, most, found: timings[LIMITED[of].timing] }));
  const broken = measured.filter(({ most, found }) => found === undefined || found > most);
  const said = (broken.length > 0 ? broken : measured).map(({ of, most, found }) => {
    const { what, unit } = LIMITED[of];
    const is = found === undefined ? "is not there" : `is ${found} ${unit}`.trim();
    return `${what} ${is}, at most ${most} ${unit}`.trim();
  });
  return {
    check: "limits",
    verdict: broken.length === 0,
    summary: said.join("; "),
    evidence: measured.map(({ of, most, found }) => ({ of, most, found: found ?? null })),
  };
}

/**
 * Whether monitors answered what faults asked of them as those say; undefined where none asked. As with limits, a run in
 * which they did not is not as expected.
 */
export function answersKept(scenario: Scenario, events: readonly TimelineEvent[]): CheckResult | undefined {
  const asked = scenario.faults.flatMap(({ fault }, index) =>
    fault.fault === "qmp" ? [{ id: faultId(index), answer: fault.answer ?? "in-time", fault }] : [],
  );
  if (asked.length === 0) return undefined;
  const results = asked.map(({ id, answer, fault: { command, host } }) => {
    const found = events.find((event) => event.kind === "qmp.answer" && event.id === id);
    const name = `${command} on ${host}`;
    if (found?.kind !== "qmp.answer") return { holds: "unknown" as const, said: `${name} was never asked` };
    const took = `${Math.round(found.answer_ms)} ms`;
    const error = found.error === undefined ? "" : ` (${found.error})`;
    const said = found.answered ? `${name} was answered after ${took}` : `${name} was not answered within ${took}`;
    return { holds: answer === "either" || (answer === "in-time") === found.answered, said: `${said}${error}` };
  });
  const verdict = results.some(({ holds }) => holds === false)
    ? false
    : results.some(({ holds }) => holds === "unknown")
      ? "unknown"
      : true;
  return { check: "answers", verdict, summary: results.map(({ said }) => said).join("; ") };
}
