import type { Asked, CheckResult, LimitSet, MomentBefore } from "../base/run-record.ts";
import type { CheckVerdict, HostRole, JsonValue, TimelineEvent } from "../base/timeline.ts";
import type { Evidence } from "./evidence.ts";
import type { Finding, Gathered } from "./finding.ts";

/** A fault of the scenario, as the timeline names it, and as a person does. */
export interface FaultNamed {
  readonly id: string;
  readonly name: string;
  readonly asks?: Asked;
  readonly before?: MomentBefore;
  readonly stops?: HostRole;
}

/** What has to be known of a scenario to judge a run of it. */
export interface JudgedScenario {
  readonly faults: readonly FaultNamed[];
  /** Those that hold under the run's recovery. */
  readonly limits?: readonly LimitSet[];
}

/** A run as it was written down: all that a check may look at. */
export interface Case {
  readonly scenario: JudgedScenario;
  readonly events: readonly TimelineEvent[];
  readonly evidence: Evidence;
}

/**
 * What false says. Of the VM: two of it, none, an earlier one, a damaged one. `unproved`: what the run is for was not seen.
 * `untidy`: the VM may be well, and the run is not as it has to be all the same. `unfinished`: the same, where the VM is
 * well; what else a worse verdict leaves behind is part of it. `unbelievable`: what was written down
 * contradicts itself, so nothing follows from it. `too-late`: all that struck did so when the migration was over, so that a
 * VM is lost says nothing of it.
 */
export const FALSE_MEANS = [
  "split-brain",
  "lost",
  "rollback",
  "corrupt",
  "unproved",
  "untidy",
  "unfinished",
  "unbelievable",
  "too-late",
] as const;
export type FalseMeans = (typeof FALSE_MEANS)[number];

/** Judges what a run wrote down, and brings with it what has to be found out for that. A new one is one file, and a line in `CHECKS`. */
export interface Check {
  readonly name: string;
  readonly false_means: FalseMeans;
  /** What the run has to find out for it, besides what the timeline tells. */
  readonly needs?: readonly Finding<unknown>[];
  /** Whether the check has something to say about this run at all. */
  readonly applies: (seen: Case) => boolean;
  readonly judge: (seen: Case) => Judgement;
}

export interface Judgement {
  readonly verdict: CheckVerdict;
  /** One sentence. */
  readonly summary: string;
  readonly evidence?: JsonValue;
}

/**
 * Runs a check. One that crashes says unknown: it has proved nothing.
 * @returns undefined where it has nothing to say about this run
 */
export function runCheck(check: Check, seen: Case): CheckResult | undefined {
  try {
    if (!check.applies(seen)) return undefined;
    return { check: check.name, ...check.judge(seen) };
  } catch (error) {
    return { check: check.name, verdict: "unknown", summary: `the check crashed: ${String(error)}` };
  }
}

/** Judges what was gathered; what could not be gathered is unknown. */
export function judged<T>(gathered: Gathered<T>, judge: (value: T) => Judgement): Judgement {
  if (gathered.state === "got") return judge(gathered.value);
  return {
    verdict: "unknown",
    summary: `${gathered.state === "failed" ? "could not look" : "not looked at"}: ${gathered.why}`,
  };
}

/**
 * The hosts whose instance went on between the two looks. One that has been succeeded is not counted: a newer generation
 * lets the VM's output out elsewhere, and from there nothing new was seen outside since. Its agent is not asked.
 */
export function movers({
  owner,
  progress,
  succeeded,
}: Pick<Evidence, "owner" | "progress" | "succeeded">): readonly HostRole[] {
  const out = succeeded === undefined || succeeded === "unheard" ? [] : succeeded;
  return progress
    .filter(({ host }) => host === owner || !out.includes(host))
    .filter(({ before, after }) => before !== undefined && after !== undefined && after > before)
    .map(({ host }) => host);
}

/** The hosts whose instance is there and could not be looked at: each may be one that moves. */
export function unread({ progress }: Pick<Evidence, "progress">): readonly string[] {
  return progress.flatMap(({ host, failed }) => (failed === undefined ? [] : [`${host} (${failed})`]));
}
