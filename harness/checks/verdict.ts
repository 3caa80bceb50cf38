import type { CheckResult } from "../base/run-record.ts";
import type { Verdict } from "../base/timeline.ts";
import { type Check, runCheck } from "./check.ts";
import type { Evidence } from "./evidence.ts";
import { CHECKS } from "./index.ts";

export interface Judged {
  readonly verdict: Verdict;
  /** One sentence. */
  readonly why: string;
  readonly checks: readonly CheckResult[];
}

/** From worst to least: what is said when several checks say false. */
const WORST_FIRST = ["split-brain", "lost", "corrupt"] as const;

/**
 * Judges a run. Two instances outweigh everything; a VM that does not run is lost, whatever else is wrong with it;
 * anything wrong with a running one makes it corrupt. Intact is only what every check that applies calls true:
 * unknown is never a pass, and where no check had anything to say nothing is proved.
 */
export function judge(evidence: Evidence, all: readonly Check[] = CHECKS): Judged {
  const results = all.flatMap((check) => {
    const result = runCheck(check, evidence);
    return result === undefined ? [] : [{ check, result }];
  });
  const checks = results.map(({ result }) => result);
  for (const verdict of WORST_FIRST) {
    const failed = results.find(({ check, result }) => result.verdict === false && check.false_means === verdict);
    if (failed) return { verdict, why: failed.result.summary, checks };
  }
  const unknown = checks.find(({ verdict }) => verdict === "unknown");
  if (unknown) return { verdict: "unknown", why: `${unknown.check}: ${unknown.summary}`, checks };
  if (checks.length === 0) return { verdict: "unknown", why: "no check had anything to say about this run", checks };
  return { verdict: "intact", why: `all ${checks.length} checks hold`, checks };
}
