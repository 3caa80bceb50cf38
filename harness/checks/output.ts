import type { Check } from "./check.ts";

/**
 * What left the VM is one history: a frame that was let out again is the frame that it was, and a generation that has
 * been succeeded lets out nothing that the newer one does not.
 */
export const output: Check = {
  name: "output",
  false_means: "split-brain",
  applies: ({ edge }) => edge !== undefined,
  judge({ edge }) {
    if (edge === undefined || edge.frames === 0) return { verdict: "unknown", summary: "nothing came out of the VM" };
    const wrong = [...edge.changed, ...edge.late];
    const [first] = wrong;
    if (first !== undefined)
      return {
        verdict: false,
        summary: `${edge.changed.length} frames changed, ${edge.late.length} are of a generation that had been succeeded: ${first}`,
        evidence: wrong,
      };
    return {
      verdict: true,
      summary: `${edge.frames} frames, ${edge.after_switchover} of them since switchover, ${edge.repeated} let out again and the same`,
    };
  },
};
