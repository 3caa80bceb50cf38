import type { Check } from "./check.ts";

/** Of what is told so many are kept one by one. */
const TOLD_MAX = 50;

/**
 * Nobody broke a rule of the protocol. What was refused in time did no harm, and is wrong all the same. That no agent
 * tells of any proves nothing by itself: it is the only check that listens to them, and only to what they admit.
 */
export const violations: Check = {
  name: "violations",
  false_means: "corrupt",
  applies: ({ evidence }) => evidence.gated,
  judge({ events }) {
    const told = events.flatMap((event) => (event.kind === "violation" ? [`${event.lane}: ${event.why}`] : []));
    const [first] = told;
    if (first === undefined) return { verdict: true, summary: "no agent tells of a rule that was broken" };
    const more = told.length === 1 ? "" : ` (and ${told.length - 1} more)`;
    return { verdict: false, summary: `violation: ${first}${more}`, evidence: told.slice(0, TOLD_MAX) };
  },
};
