import type { TimelineEvent } from "../base/timeline.ts";
import type { Judged } from "./verdict.ts";

/** A fault of the scenario, as the timeline names it, and as a person does. */
export interface FaultNamed {
  readonly id: string;
  readonly name: string;
}

/**
 * A fault that never struck proves nothing, nor does one that was to be healed and never was: then nobody has seen what
 * the scenario is for. A verdict that is worse than unknown stays what it is.
 */
export function struck(judged: Judged, faults: readonly FaultNamed[], events: readonly TimelineEvent[]): Judged {
  if (judged.verdict !== "intact") return judged;
  for (const { id, name } of faults) {
    const injected = events.some((event) => event.kind === "fault.injected" && event.id === id);
    const failed = events.find((event) => event.kind === "fault.failed" && event.id === id);
    const because = failed?.kind === "fault.failed" ? `: ${failed.error}` : "";
    if (!injected) return { ...judged, verdict: "unknown", why: `${name} never struck${because}` };
    if (failed !== undefined)
      return { ...judged, verdict: "unknown", why: `${name} was not as the scenario says${because}` };
  }
  return judged;
}
