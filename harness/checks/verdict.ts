import type { CheckResult } from "../base/run-record.ts";
import type { TimelineEvent, Verdict } from "../base/timeline.ts";
import { type Check, type FalseMeans, type JudgedScenario, runCheck } from "./check.ts";
import type { Evidence } from "./evidence.ts";
import type { Stage } from "./finding.ts";
import { CHECKS } from "./index.ts";

export interface Judged {
  readonly verdict: Verdict;
  /** One sentence. */
  readonly why: string;
  readonly checks: readonly CheckResult[];
  /** What is not as it has to be though it says nothing of the VM, one sentence each: then no run is as expected. */
  readonly untidy: readonly string[];
}

/** From worst to least: what is said when several checks say false. An earlier VM is told before a damaged one. */
const WORST_FIRST = ["split-brain", "lost", "rollback", "corrupt"] as const;

/** What changes no verdict. */
const BESIDES: readonly FalseMeans[] = ["untidy", "unfinished"];

/**
 * Judges a run by what it wrote down: the only way to a verdict, and a pure function. Nothing follows from what contradicts
 * itself. Two instances outweigh everything; a VM that does not run is lost, whatever else is wrong with it, unless all that
 * struck came when the migration was over (then its loss is nobody's failing, and unknown); one that
 * went behind what the world had seen is rolled back; anything else that is wrong with a running one makes it corrupt.
 * Intact is only what every check that applies calls true: unknown is never a pass, and where no check had anything to
 * say nothing is proved. What is untidy changes no verdict.
 */
export function judge(
  scenario: JudgedScenario,
  events: readonly TimelineEvent[],
  evidence: Evidence,
  all: readonly Check[] = CHECKS,
): Judged {
  const seen = { scenario, events, evidence };
  // Of a run that broke off nothing was seen to its end but what is left of it.
  const asked = evidence.error === undefined ? all : all.filter(({ needs }) => needs?.every(isLast));
  const results = asked.flatMap((check) => {
    const result = runCheck(check, seen);
    return result === undefined ? [] : [{ check, result }];
  });
  const checks = results.map(({ result }) => result);
  const besides = results.filter(({ check }) => BESIDES.includes(check.false_means));
  const untidyWhen = (verdict: Verdict): readonly string[] =>
    besides.flatMap(({ check, result }) =>
      result.verdict === true || (check.false_means === "unfinished" && verdict !== "intact")
        ? []
        : [`${result.check}: ${result.summary}`],
    );
  const said = (verdict: Verdict, why: string): Judged => {
    const untidy = untidyWhen(verdict);
    return { verdict, why: untidy.length === 0 ? why : `${why}; but ${untidy.join("; ")}`, checks, untidy };
  };
  const firstFalse = (means: FalseMeans): CheckResult | undefined =>
    results.find(({ check, result }) => result.verdict === false && check.false_means === means)?.result;
  const unbelievable = firstFalse("unbelievable");
  if (unbelievable) return said("unknown", unbelievable.summary);
  if (evidence.error !== undefined) return said("unknown", `the harness failed: ${evidence.error.split("\n")[0]}`);
  const unproved = firstFalse("unproved");
  const too_late = firstFalse("too-late");
  for (const verdict of WORST_FIRST) {
    if (verdict === "lost" && too_late !== undefined) continue;
    const failed = firstFalse(verdict);
    // What is lost is lost; but whoever reads it has to know that not all that was to break did.
    if (failed) return said(verdict, unproved ? `${failed.summary} (${unproved.summary})` : failed.summary);
  }
  if (too_late) return said("unknown", too_late.summary);
  if (unproved) return said("unknown", unproved.summary);
  const ofVm = results.filter((one) => !besides.includes(one)).map(({ result }) => result);
  const unknown = ofVm.find(({ verdict }) => verdict === "unknown");
  if (unknown) return said("unknown", `${unknown.check}: ${unknown.summary}`);
  if (ofVm.length === 0) return said("unknown", "no check had anything to say about this run");
  // It lives, and the next failure is its last: no check has that to say, and whoever reads the verdict has to know.
  const bare = evidence.unprotected === undefined ? "" : `; the VM is protected no more (${evidence.unprotected})`;
  if (untidyWhen("intact").length > 0) return said("intact", `every check of the VM holds${bare}`);
  return said("intact", `all ${checks.length} checks hold${bare}`);
}

function isLast({ stage }: { readonly stage: Stage }): boolean {
  return stage === "taken-down";
}
