import type { Check } from "./check.ts";

/** What left the VM is one history: a frame that was let out again is the frame that it was. */
export const output: Check = {
  name: "output",
  false_means: "split-brain",
  applies: ({ edge }) => edge !== undefined,
  judge({ edge }) {
    if (edge === undefined || edge.frames === 0) return { verdict: "unknown", summary: "nothing came out of the VM" };
    const [first] = edge.changed;
    if (first !== undefined)
      return {
        verdict: false,
        summary: `${edge.changed.length} frames changed: ${first}`,
        evidence: [...edge.changed],
      };
    return {
      verdict: true,
      summary: `${edge.frames} frames without a gap, ${edge.after_switchover} of them since switchover, ${edge.repeated} let out again and the same`,
    };
  },
};
