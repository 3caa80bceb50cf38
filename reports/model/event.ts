import type { Lane, TimelineEvent } from "../../harness/base/timeline.ts";

/**
 * A line of the timeline that this reader does not know: an event kind of a later version, or a known kind whose
 * fields are not what the schema says. It keeps its place and its text, so that nothing is left out in silence.
 */
export interface UnreadEvent {
  readonly kind: "unread";
  readonly at_ms: number;
  readonly lane: Lane;
  /** The kind that the line claimed, and the line itself. */
  readonly claimed: string;
  readonly raw: string;
}

/** A line of a log file beside the timeline, at the time that it begins with. It is on no timeline, only in reports. */
export interface FileLine {
  readonly kind: "file.line";
  readonly at_ms: number;
  readonly lane: Lane;
  readonly file: string;
  readonly line: string;
}

export type ReportEvent = TimelineEvent | UnreadEvent | FileLine;

const SAMPLES: readonly ReportEvent["kind"][] = ["guest.progress", "migration.progress", "agent.vitals", "host.usage"];

/** Samples are drawn as plots, not as marks on a lane. */
export function isSample(event: ReportEvent): boolean {
  return SAMPLES.includes(event.kind);
}

/** Lines of text that a program wrote. */
export function isLogLine(event: ReportEvent): boolean {
  return event.kind === "log" || event.kind === "guest.log" || event.kind === "file.line";
}
