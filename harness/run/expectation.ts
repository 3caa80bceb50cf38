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

export interface Expected {
  readonly verdict: Verdict;
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
  return { verdict: scenario.expect[recovery] ?? "unknown" };
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
