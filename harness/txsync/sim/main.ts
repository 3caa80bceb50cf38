import { messageOf, UserError } from "../../base/errors.ts";
import { play, replayCommand, type Summary, summaryLine, tell } from "./play.ts";
import { scheduleOf } from "./schedule.ts";

/**
 * `npm run simulate -- [--minutes M] [--from SEED] [--seed SEED]`: plays schedules for M minutes (default 1) from a
 * seed on (default: by the clock), or tells one schedule line by line. Exit code 1 when an invariant was broken.
 */
function main(args: readonly string[]): number {
  const options = parse(args);
  if (options.seed !== undefined) {
    const schedule = scheduleOf(options.seed);
    console.log(JSON.stringify(schedule));
    const lines = tell(schedule);
    console.log(lines.join("\n"));
    return lines.some((line) => line.includes(" invariant ")) ? 1 : 0;
  }
  const until_ms = performance.now() + options.minutes * 60_000;
  let from = options.from;
  let bad = 0;
  let summary: Summary;
  console.log(`from seed ${from}, for ${options.minutes} min`);
  do {
    const left_ms = until_ms - performance.now();
    summary = play({ from, schedules: 1_000_000, elapsed_ms_max: Math.min(30_000, left_ms) });
    console.log(summaryLine(summary));
    for (const failure of summary.failures) console.log(`  ${failure.what}\n    again: ${replayCommand(failure.seed)}`);
    bad += summary.failures.length;
    from += summary.schedules;
  } while (performance.now() < until_ms && bad < 20);
  const common = [...summary.paths].sort((a, b) => b[1] - a[1]).slice(0, 12);
  console.log("most seen recovery paths of the last round:");
  for (const [path, count] of common) console.log(`  ${String(count).padStart(7)}  ${path}`);
  return bad > 0 ? 1 : 0;
}

function parse(args: readonly string[]): { minutes: number; from: number; seed: number | undefined } {
  const options = { minutes: 1, from: Math.floor(Date.now() / 1000) * 100_000, seed: undefined as number | undefined };
  for (let i = 0; i < args.length; i += 2) {
    const value = Number(args[i + 1]);
    if (args[i + 1] === undefined || !Number.isFinite(value) || value < 0) {
      throw new UserError(`simulate: ${args[i]} takes a number; known: --minutes M, --from SEED, --seed SEED`);
    }
    if (args[i] === "--minutes") options.minutes = value;
    else if (args[i] === "--from") options.from = value;
    else if (args[i] === "--seed") options.seed = value;
    else throw new UserError(`simulate: unknown option ${args[i]}; known: --minutes M, --from SEED, --seed SEED`);
  }
  return options;
}

try {
  process.exitCode = main(process.argv.slice(2));
} catch (thrown) {
  console.error(messageOf(thrown));
  process.exitCode = thrown instanceof UserError ? thrown.exitCode : 1;
}
