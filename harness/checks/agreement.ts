import { HOST_ROLES } from "../base/timeline.ts";
import type { Case, Check } from "./check.ts";
import { timelineDigest } from "./evidence.ts";

/**
 * Where timeline and evidence contradict each other, each place in one sentence: one of them is torn, or not of this run,
 * or was changed. Who changes both alike, digests included, is not found out.
 */
export function contradictions({ events, evidence }: Case): readonly string[] {
  const found: string[] = [];
  const started = events.filter(({ kind }) => kind === "run.started").length;
  if (started !== 1 || events[0]?.kind !== "run.started")
    found.push(`the timeline has ${started} beginnings, and has to begin with its only one`);
  const sealed = evidence.timeline;
  if (events.length < sealed.events)
    found.push(`the timeline has ${events.length} events, the evidence was written beside ${sealed.events}`);
  else if (timelineDigest(events.slice(0, sealed.events)).sha256 !== sealed.sha256)
    found.push(`the first ${sealed.events} events are not those beside which the evidence was written`);
  const settled = events.findLast((event) => event.kind === "run.settled");
  if (settled?.kind === "run.settled") {
    if (settled.owner !== evidence.owner)
      found.push(`by the timeline ${settled.owner} has the VM, by the evidence ${evidence.owner}`);
    if (settled.how !== evidence.settled)
      found.push(`it settled differently: "${settled.how}" by the timeline, "${evidence.settled}" by the evidence`);
  } else if (evidence.error === undefined) found.push("the timeline never settled, and the evidence knows of no error");
  for (const host of HOST_ROLES) {
    const seen = evidence.progress.find((sample) => sample.host === host)?.after !== undefined;
    if (seen && !events.some(({ kind, lane }) => kind === "qemu.started" && lane === host))
      found.push(`the evidence saw an instance on ${host}, where by the timeline no QEMU was ever started`);
  }
  return found;
}

/** What was written down is of one run and of one piece. */
export const agreement: Check = {
  name: "agreement",
  false_means: "unbelievable",
  applies: () => true,
  judge(seen) {
    const found = contradictions(seen);
    if (found.length === 0) return { verdict: true, summary: "timeline and evidence are of one piece" };
    return {
      verdict: false,
      summary: `timeline and evidence contradict each other: ${found.join("; ")}`,
      evidence: [...found],
    };
  },
};
