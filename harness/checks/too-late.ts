import type { TimelineEvent } from "../base/timeline.ts";
import type { Check, FaultNamed } from "./check.ts";
import { cameTooLate } from "./lateness.ts";

/**
 * A VM that was handed off, whole, is lost with its host as any VM is: a fault that was to strike in the midst of the
 * migration and came after it has lost what nobody was to save. Where another fault struck at its moment the loss may be
 * of its making, and nothing is said here.
 */
export const tooLate: Check = {
  name: "too-late",
  false_means: "too-late",
  applies: ({ scenario, events }) => behindTheEnd(scenario.faults, events) !== undefined,
  judge({ scenario, events }) {
    const name = behindTheEnd(scenario.faults, events)?.name;
    if (name === undefined) return { verdict: true, summary: "no fault came too late" };
    return {
      verdict: false,
      summary: `${name} took the VM away only when the migration had ended, though its moment lies before that: the harness heard of it too late, and what came of it says nothing of the recovery`,
    };
  },
};

/** The fault that took the target's VM away, where everything that struck came too late. */
function behindTheEnd(faults: readonly FaultNamed[], events: readonly TimelineEvent[]): FaultNamed | undefined {
  const struck = faults.filter(({ id }) => events.some((event) => event.kind === "fault.injected" && event.id === id));
  if (!struck.every((fault) => cameTooLate(fault, events))) return undefined;
  return struck.find(({ stops }) => stops === "target");
}
