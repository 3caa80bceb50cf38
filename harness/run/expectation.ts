import type { Manager } from "../base/configuration.ts";
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

/**
 * What comes out with some versions of QEMU only, or with some managers, and why. Each of the conditions is optional, one
 * of them is there, and all that are there have to hold.
 */
export interface ExpectedOn {
  readonly under: Recovery;
  /** QEMU's version from this one on, and before that one: of the source, and of the target where that has another one. */
  readonly from?: QemuSince;
  readonly before?: QemuSince;
  readonly target_from?: QemuSince;
  readonly target_before?: QemuSince;
  /** Where one of these drives the migration. */
  readonly managers?: readonly Manager[];
  readonly verdict: Verdict;
  /** One sentence: what is different there. */
  readonly why: string;
}

export interface Expected {
  readonly verdict: Verdict;
  /** Why it is another one than the scenario's with this version. */
  readonly why?: string;
}

/** Under what a scenario is played: what an expectation may depend on. */
export interface Circumstances {
  readonly recovery: Recovery;
  /** "10.0.13 (Debian …)": of the source, and of the target where that has another one. */
  readonly qemu_version: string;
  readonly target_version?: string;
  readonly manager?: Manager;
}

/**
 * What ought to come out: what the first entry says that is for these circumstances, else the scenario's own word for the
 * recovery. "unknown" where it has none.
 */
export function expectedOf(scenario: Scenario, circumstances: Circumstances): Expected {
  const { recovery, qemu_version, target_version = qemu_version, manager } = circumstances;
  const found = scenario.expect_on?.find(
    (on) =>
      on.under === recovery &&
      (on.managers === undefined || (manager !== undefined && on.managers.includes(manager))) &&
      isBetween(qemu_version, on.from, on.before) &&
      isBetween(target_version, on.target_from, on.target_before),
  );
  if (found !== undefined) return { verdict: found.verdict, why: found.why };
  return { verdict: scenario.expect[recovery] ?? "unknown" };
}

/** Of a QEMU that does not tell its version nothing that depends on that is said. */
function isBetween(text: string, from: QemuSince | undefined, before: QemuSince | undefined): boolean {
  if (from === undefined && before === undefined) return true;
  const version = versionIn(text);
  if (version === undefined) return false;
  return (from === undefined || reaches(version, from)) && (before === undefined || !reaches(version, before));
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
