import { type Check, movers, unread } from "./check.ts";
import { instancesOf, type Overlap, overlapsOf } from "./instances.ts";

/**
 * Never two: at no time of the run did two instances run, by the vCPUs' own history, and at its end at most one makes
 * progress. Where output goes through a gate an instance may run on that nobody hears: then it counts what the edge saw
 * of it, which is the matter of `output` for the run and of `succeeded` for its end. (That there is one is vm-running's.)
 */
export const singleInstance: Check = {
  name: "single-instance",
  false_means: "split-brain",
  applies: () => true,
  judge({ evidence, events }) {
    const overlaps = overlapsOf(instancesOf(events));
    const moving = movers(evidence);
    const told = overlaps.map((overlap) => ({ ...overlap, hosts: [...overlap.hosts], pids: [...overlap.pids] }));
    const [first] = overlaps;
    if (moving.length > 1 && evidence.succeeded !== "unheard")
      return {
        verdict: false,
        summary: `${moving.length} instances make progress: ${moving.join(" and ")}`,
        ...(told.length === 0 ? {} : { evidence: told }),
      };
    if (first !== undefined && !evidence.gated) return { verdict: false, summary: inWords(first), evidence: told };
    if (evidence.progress.length === 0)
      return { verdict: "unknown", summary: "nobody looked whether it makes progress" };
    if (moving.length > 1)
      return {
        verdict: "unknown",
        summary: `instances move on ${moving.join(" and ")}, and the owner lets nothing out by which they could be told`,
      };
    const hidden = unread(evidence);
    if (hidden.length > 0)
      return { verdict: "unknown", summary: `could not see whether a second one moves: ${hidden.join(", ")}` };
    const gate = first === undefined ? "" : `; ${inWords(first)}, one of them behind a gate`;
    return {
      verdict: true,
      summary: `${moving.length === 1 ? `one instance, on ${moving[0]}` : "no instance makes progress"}${gate}`,
      ...(told.length === 0 ? {} : { evidence: told }),
    };
  },
};

function inWords({ hosts, from_ms, longest_ms, times }: Overlap): string {
  const [one, other] = hosts;
  const often = times === 1 ? "" : `, and ${times - 1} times more`;
  return `the instances on ${one} and on ${other} ran at one time: for ${Math.round(longest_ms)} ms at the longest, first ${Math.round(from_ms)} ms into the run${often}`;
}
