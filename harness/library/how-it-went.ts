import { join } from "node:path";
import { describe } from "../../reports/model/describe.ts";
import type { ReportEvent } from "../../reports/model/event.ts";
import { storyOf } from "../../reports/model/story.ts";
import { endOfFile } from "../base/end-of-file.ts";

/** Of a timeline that is longer its end is read. */
const READ_BYTES = 4 * 2 ** 20;
const LINES_MAX = 60;
const LINE_CHARACTERS = 240;

/**
 * How a run went, as lines for a terminal: its story as the report tells it, and whatever hosts said of themselves until the
 * end. Where runs are on a machine that nobody can look at afterwards it is all that is left of them.
 * @param folder the run's own
 * @returns at most 60 lines, the last ones; none where there is no timeline
 */
export function howItWent(folder: string): readonly string[] {
  const events = readEnd(join(folder, "timeline.ndjson"));
  const told = new Map(storyOf(events).map(({ event, text }) => [event, text]));
  events.forEach((event, index) => {
    if (event.kind === "log" || event.kind === "run.note" || event.kind === "qemu.exited")
      told.set(index, `${event.lane}: ${describe(event)}`);
  });
  return [...told]
    .toSorted(([a], [b]) => a - b)
    .slice(-LINES_MAX)
    .map(([index, text]) => {
      const at_s = ((events[index]?.at_ms ?? 0) / 1_000).toFixed(3).padStart(9);
      return `${at_s} s  ${text}`.slice(0, LINE_CHARACTERS);
    });
}

/** What of it cannot be read is left out: its report says what was wrong with it. */
function readEnd(path: string): readonly ReportEvent[] {
  let text: string;
  try {
    text = endOfFile(path, READ_BYTES);
  } catch {
    return [];
  }
  return text.split("\n").flatMap((line) => {
    try {
      return [JSON.parse(line) as ReportEvent];
    } catch {
      return [];
    }
  });
}
