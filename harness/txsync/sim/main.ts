import { Command } from "commander";
import { minutes, wholeNumber } from "../../base/arguments.ts";
import { play, replayCommand, type Summary, summaryLine, tell } from "./play.ts";
import { scheduleOf } from "./schedule.ts";

interface Options {
  readonly minutes: number;
  readonly from: number;
  readonly seed?: number;
}

const FAILURES_MAX = 20;

/** `npm run simulate -- --help` says what it takes. Exit code 1 when a rule was broken. */
function simulate({ minutes, from, seed }: Options): number {
  return seed === undefined ? search(minutes, from) : replay(seed);
}

/** One schedule, line by line. */
function replay(seed: number): number {
  const schedule = scheduleOf(seed);
  console.log(JSON.stringify(schedule));
  const lines = tell(schedule);
  console.log(lines.join("\n"));
  return lines.some((line) => line.includes(" invariant ")) ? 1 : 0;
}

function search(minutes: number, first: number): number {
  const until_ms = performance.now() + minutes * 60_000;
  let from = first;
  let bad = 0;
  let summary: Summary;
  console.log(`from seed ${from}, for ${minutes} min`);
  do {
    const left_ms = until_ms - performance.now();
    summary = play({ from, schedules: 1_000_000, elapsed_ms_max: Math.min(30_000, left_ms) });
    console.log(summaryLine(summary));
    for (const failure of summary.failures) console.log(`  ${failure.what}\n    again: ${replayCommand(failure.seed)}`);
    bad += summary.failures.length;
    from += summary.schedules;
  } while (performance.now() < until_ms && bad < FAILURES_MAX);
  const common = [...summary.paths].sort((a, b) => b[1] - a[1]).slice(0, 12);
  console.log("most seen recovery paths of the last round:");
  for (const [path, count] of common) console.log(`  ${String(count).padStart(7)}  ${path}`);
  return bad > 0 ? 1 : 0;
}

new Command("simulate")
  .description("Plays the core of txsync under faults, schedule after schedule, until the time is over.")
  .option("--minutes <minutes>", "for how long", minutes, 1)
  .option("--from <seed>", "the first schedule (default: by the clock)", wholeNumber)
  .option("--seed <seed>", "tell this one schedule line by line", wholeNumber)
  .action((options: Omit<Options, "from"> & { readonly from?: number }) => {
    process.exitCode = simulate({ ...options, from: options.from ?? Math.floor(Date.now() / 1000) * 100_000 });
  })
  .parse();
