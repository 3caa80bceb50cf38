import type { Check } from "./check.ts";
import { cameTooLate } from "./lateness.ts";

/**
 * A fault that never struck proves nothing, nor does one that was to be healed and never was, or that came when all was
 * over: then nobody has seen what the scenario is for. A verdict that is worse than unknown stays what it is.
 */
export const struck: Check = {
  name: "struck",
  false_means: "unproved",
  applies: ({ scenario }) => scenario.faults.length > 0,
  judge({ scenario: { faults }, events }) {
    for (const fault of faults) {
      const { id, name } = fault;
      const injected = events.some((event) => event.kind === "fault.injected" && event.id === id);
      const failed = events.find((event) => event.kind === "fault.failed" && event.id === id);
      const because = failed?.kind === "fault.failed" ? `: ${failed.error}` : "";
      if (!injected) return { verdict: false, summary: `${name} never struck${because}` };
      if (failed !== undefined) return { verdict: false, summary: `${name} was not as the scenario says${because}` };
      if (cameTooLate(fault, events))
        return {
          verdict: false,
          summary: `${name} struck when the migration had ended, and its moment lies before that`,
        };
    }
    return { verdict: true, summary: faults.length === 1 ? "the fault struck" : `all ${faults.length} faults struck` };
  },
};
