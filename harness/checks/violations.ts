import type { Check } from "./check.ts";

/** Nobody broke a rule of the protocol. What was refused in time did no harm, and is wrong all the same. */
export const violations: Check = {
  name: "violations",
  false_means: "corrupt",
  applies: ({ violations: told }) => told !== undefined,
  judge({ violations: told = [] }) {
    const [first] = told;
    if (first === undefined) return { verdict: true, summary: "no agent tells of a rule that was broken" };
    const more = told.length === 1 ? "" : ` (and ${told.length - 1} more)`;
    return { verdict: false, summary: `violation: ${first}${more}`, evidence: [...told] };
  },
};
