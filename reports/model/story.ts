import { describe } from "./describe.ts";
import type { ReportEvent } from "./event.ts";
import { formatMs } from "./format.ts";
import type { Tone } from "./lanes.ts";

/** One line of the story of a run. */
export interface StoryLine {
  readonly at_ms: number;
  readonly tone: Tone;
  readonly text: string;
  /** Index of the event it tells of. */
  readonly event: number;
  /** Since the first fault was injected; absent before it. */
  readonly since_fault_ms?: number;
}

const LINES_MAX = 40;
/** A migration that pauses and recovers in a loop is told this often by its steps, then by their number. */
const STEP_TIMES_MAX = 3;

/**
 * What broke, when, and what the system did about it: the few events of the timeline that a person would tell, in
 * order. Used by the report and fit for a terminal.
 */
export function storyOf(events: readonly ReportEvent[]): StoryLine[] {
  const lines: StoryLine[] = [];
  let fault_ms: number | undefined;
  let repeated = 0;
  let ended = false;
  const steps = new Map<string, number>();
  let rounds = 0;
  let inRounds = false;
  events.forEach((event, index) => {
    if (event.kind === "run.phase" && (event.phase === "teardown" || event.phase === "check")) ended = true;
    if (event.kind === "fault.injected") fault_ms ??= event.at_ms;
    const tone = toneInStory(event, ended);
    if (tone === undefined) return;
    const text = sentence(event);
    if (event.kind === "migration.step") {
      const times = (steps.get(event.step) ?? 0) + 1;
      steps.set(event.step, times);
      if (times > STEP_TIMES_MAX) {
        rounds += 1;
        const said = `… ${rounds} more changes of step like these, until ${(event.at_ms / 1_000).toFixed(3)} s`;
        const line: StoryLine = { at_ms: event.at_ms, tone: "neutral", text: said, event: index };
        if (inRounds) lines[lines.length - 1] = { ...(lines.at(-1) ?? line), text: said };
        else lines.push(line);
        inRounds = true;
        return;
      }
    }
    if (inRounds) rounds = 0;
    inRounds = false;
    const before = lines.at(-1);
    if (before !== undefined && before.text.replace(/ \(\d+ times\)$/, "") === text) {
      repeated += 1;
      lines[lines.length - 1] = { ...before, text: `${text} (${repeated + 1} times)` };
      return;
    }
    repeated = 0;
    const since =
      fault_ms !== undefined && event.kind !== "run.finished" ? { since_fault_ms: event.at_ms - fault_ms } : {};
    lines.push({ at_ms: event.at_ms, tone, text, event: index, ...since });
  });
  if (lines.length <= LINES_MAX) return lines;
  // The beginning tells what broke, the end how it came out: the middle of a long story is cut, and said to be.
  const head = lines.slice(0, LINES_MAX / 2);
  const tail = lines.slice(-LINES_MAX / 2);
  const gap = lines[LINES_MAX / 2];
  const left_out = lines.length - head.length - tail.length;
  if (gap === undefined) return lines;
  return [
    ...head,
    { ...gap, tone: "neutral", text: `… ${left_out} more events like these, see the timeline …` },
    ...tail,
  ];
}

/** `+0.51 s after the fault`, or nothing. */
export function sinceFault(line: StoryLine): string {
  return line.since_fault_ms === undefined || line.since_fault_ms === 0
    ? ""
    : `fault + ${formatMs(line.since_fault_ms)}`;
}

function toneInStory(event: ReportEvent, ended: boolean): Tone | undefined {
  switch (event.kind) {
    case "migration.step":
      if (event.step === "failed") return "bad";
      if (event.step === "postcopy-paused") return "warn";
      if (event.step === "completed") return "good";
      return event.step === "completing" || event.step === "setup" ? undefined : "info";
    case "fault.injected":
    case "fault.failed":
    case "violation":
      return "bad";
    case "fault.healed":
      return "good";
    case "host.gone":
      return ended ? undefined : "bad";
    case "qemu.exited":
      if (ended) return undefined;
      return event.code === 0 ? "neutral" : "bad";
    case "lease.lost":
      return "warn";
    case "vote.asked":
    case "vote.refused":
    case "lease.regained":
    case "restore.started":
      return "info";
    case "generation.opened":
    case "takeover":
      return "warn";
    case "restore.finished":
    case "restore.verified":
    case "restore.running":
    case "handoff":
    case "base.covered":
      return "good";
    case "protection":
      return event.state === "on" ? "good" : "warn";
    case "run.settled":
      return event.owner === "none" ? "bad" : "good";
    case "check.result":
      // What could not be checked stands with the checks; only what a check found wrong belongs to the story.
      return event.verdict === false ? "bad" : undefined;
    case "run.finished":
      return event.as_expected ? "good" : "bad";
    default:
      return undefined;
  }
}

function sentence(event: ReportEvent): string {
  const text = describe(event);
  switch (event.kind) {
    case "host.gone":
    case "qemu.exited":
    case "lease.lost":
    case "lease.regained":
    case "vote.asked":
    case "vote.refused":
    case "restore.started":
    case "restore.finished":
    case "restore.verified":
    case "restore.running":
    case "violation":
      return `${event.lane}: ${text}`;
    default:
      return text;
  }
}
