import type { Manager } from "../base/configuration.ts";
import type { RunRecord } from "../base/run-record.ts";
import type { TimelineEvent } from "../base/timeline.ts";

/** Shows how runs are going: lines on a terminal or in a log. */
export interface Progress {
  onEvent(run: string, event: TimelineEvent): void;
  /** `run` is the name under which its events came: several runs of one scenario may go on at a time. */
  onFinished(run: string, record: RunRecord): void;
  close(): void;
}

interface Live {
  phase: string;
  pages: string;
  fault: string;
  step: string;
  /** What the run waits for, where it has waited for a while; whatever moves takes it away again. */
  waiting: string;
}

const BAR_WIDTH = 20;

/**
 * On a terminal: one line a run, rewritten as it goes. Elsewhere: one line when a run ends, and one now and then while it
 * waits for long.
 */
export function makeProgress(output: NodeJS.WriteStream, quiet: boolean): Progress {
  const live = new Map<string, Live>();
  let drawn = 0;
  const tty = output.isTTY === true && !quiet;
  const erase = (): void => {
    if (drawn > 0) output.write(`\x1b[${drawn}A\x1b[0J`);
    drawn = 0;
  };
  const draw = (): void => {
    if (!tty) return;
    erase();
    for (const [run, { phase, pages, fault, step, waiting }] of live) {
      const width = (output.columns || 100) - 1;
      output.write(
        `${`  ${run.padEnd(30)} ${phase.padEnd(8)} ${pages} ${step} ${fault} ${waiting}`.slice(0, width)}\n`,
      );
      drawn += 1;
    }
  };
  return {
    onEvent(run, event) {
      if (quiet) return;
      let state = live.get(run);
      if (!state) {
        state = { phase: "", pages: "", fault: "", step: "", waiting: "" };
        live.set(run, state);
      }
      if (event.kind === "run.waiting") {
        state.waiting = `(waiting for ${event.what})`;
        if (!tty) output.write(`     ${waitingLine(run, event)}\n`);
        draw();
        return;
      }
      if (event.kind === "run.phase") state.phase = event.phase;
      else if (event.kind === "migration.step") state.step = event.step;
      else if (event.kind === "migration.progress") state.pages = bar(event.pages_arrived, event.pages_total);
      else if (event.kind === "fault.injected") state.fault = `! ${event.what}`;
      else if (event.kind === "fault.healed") state.fault = `healed ${event.fault}`;
      else return;
      state.waiting = "";
      draw();
    },
    onFinished(run, record) {
      if (quiet) return;
      erase();
      live.delete(run);
      output.write(`${finishedLine(run, record)}\n`);
      draw();
    },
    close: () => erase(),
  };
}

/** Name of a run on the screen. */
export function runName(run: {
  readonly scenario: string;
  readonly recovery: string;
  readonly manager?: Manager | undefined;
}): string {
  const { scenario, recovery, manager } = run;
  return manager === undefined || manager === "qmp" ? `${scenario} ${recovery}` : `${scenario} ${recovery} ${manager}`;
}

/** QEMU counts a page that it sends again once more, so more may seem to have arrived than there are. */
function bar(arrived: number, total: number): string {
  const fraction = total > 0 ? Math.min(1, arrived / total) : 0;
  const full = Math.round(fraction * BAR_WIDTH);
  return `[${"#".repeat(full)}${".".repeat(BAR_WIDTH - full)}] ${String(Math.floor(fraction * 100)).padStart(3)} %`;
}

function waitingLine(
  run: string,
  { at_ms, what, moved, quiet_ms }: Extract<TimelineEvent, { readonly kind: "run.waiting" }>,
): string {
  const quiet = quiet_ms < 1_000 ? "" : `, quiet for ${(quiet_ms / 1000).toFixed(0)} s`;
  return `${run.padEnd(38)} ${(at_ms / 1000).toFixed(0).padStart(5)} s: waiting for ${what} (${moved}${quiet})`;
}

function finishedLine(run: string, record: RunRecord): string {
  const mark = record.as_expected ? "ok  " : "FAIL";
  const time = `${(record.timings.total_ms / 1000).toFixed(1)} s`;
  const tries = (record.tries ?? 1) > 1 ? ` (asked to migrate ${record.tries} times)` : "";
  return `${mark} ${run.padEnd(38)} ${record.verdict.padEnd(11)} ${time.padStart(7)}  ${record.why.split("\n")[0]}${tries}`;
}
