import type { Manager } from "../base/configuration.ts";
import type { LimitSet, Recovery } from "../base/run-record.ts";
import type { Verdict } from "../base/timeline.ts";
import type { LimitedName } from "../checks/limits.ts";
import { isAtLeast } from "../qemu/versions.ts";
import type { Scenario } from "./scenario.ts";

/** What a run of the scenario may take at most. */
export interface Limit extends LimitSet {
  readonly of: LimitedName;
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
  /** What comes out instead now and then: it is a race, and each of them is as expected. */
  readonly or?: readonly Verdict[];
  /** One sentence: what is different there. */
  readonly why: string;
}

/** Versions of QEMU, from one on and before another. */
export interface VersionRange {
  readonly from?: QemuSince;
  readonly before?: QemuSince;
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
  if (found !== undefined) {
    const { verdict, or = [], why } = found;
    const too = or.map((other): AllowedToo => ({ under: recovery, verdict: other, why }));
    return { verdict, ...(too.length === 0 ? {} : { too }), why };
  }
  const too = (scenario.allow ?? []).filter(({ under }) => under === recovery);
  return { verdict: scenario.expect[recovery] ?? "unknown", ...(too.length === 0 ? {} : { too }) };
}

/** Whether a verdict is one of those that ought to come out. */
export function isExpected({ verdict, too = [] }: Expected, found: Verdict): boolean {
  return found === verdict || too.some((other) => other.verdict === found);
}

/** Why a scenario says nothing with these QEMUs; undefined where it does, and where the version is not known. */
export function notFor({ only }: Scenario, qemu_version: string): string | undefined {
  if (only === undefined || versionIn(qemu_version) === undefined) return undefined;
  return only.versions.some(({ from, before }) => isBetween(qemu_version, from, before)) ? undefined : only.why;
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

/** The limits that hold under a recovery. */
export function limitsUnder({ limits = [] }: Pick<Scenario, "limits">, recovery: Recovery): readonly LimitSet[] {
  return limits.filter(({ under }) => under === undefined || under === recovery).map(({ of, most }) => ({ of, most }));
}
