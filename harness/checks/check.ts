import type { CheckResult } from "../base/run-record.ts";
import type { CheckVerdict, HostRole, JsonValue } from "../base/timeline.ts";
import type { Evidence, Gathered } from "./evidence.ts";

/** Judges evidence; knows nothing of how it was gathered. */
export interface Check {
  readonly name: string;
  /** What is wrong with the VM when the check says false. */
  readonly false_means: "lost" | "corrupt" | "split-brain";
  /** Whether the check has something to say about this run at all. */
  readonly applies: (evidence: Evidence) => boolean;
  readonly judge: (evidence: Evidence) => Judgement;
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
export function runCheck(check: Check, evidence: Evidence): CheckResult | undefined {
  try {
    if (!check.applies(evidence)) return undefined;
    return { check: check.name, ...check.judge(evidence) };
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
export function movers(evidence: Evidence): readonly HostRole[] {
  const { owner, progress, succeeded } = evidence;
  const out = succeeded === undefined || succeeded === "unheard" ? [] : succeeded;
  return progress
    .filter(({ host }) => host === owner || !out.includes(host))
    .filter(({ before, after }) => before !== undefined && after !== undefined && after > before)
    .map(({ host }) => host);
}

/** The hosts whose instance is there and could not be looked at: each may be one that moves. */
export function unread(evidence: Evidence): readonly string[] {
  return evidence.progress.flatMap(({ host, failed }) => (failed === undefined ? [] : [`${host} (${failed})`]));
}
