import { type Check, judged } from "./check.ts";

/** A recovered VM is a full VM: what it was put through left its memory as the rule says. */
export const afterwards: Check = {
  name: "afterwards",
  false_means: "corrupt",
  applies: (evidence) => evidence.afterwards !== undefined,
  judge: (evidence) =>
    judged(evidence.afterwards ?? { state: "absent", why: "nothing was asked" }, ({ what, memory }) => ({
      verdict: memory.bad_count === 0 && memory.pages_checked > 0,
      summary: `${what}: ${memory.bad_count} of ${memory.pages_checked} pages are wrong at step ${memory.step}`,
      evidence: memory.bad.map((page) => ({ ...page })),
    })),
};
