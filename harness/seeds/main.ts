import { writeFileSync } from "node:fs";
import { Command, Option } from "commander";
import { minutes as time, wholeNumber } from "../base/arguments.ts";
import { checkReal, controlOf } from "./real.ts";
import { realRunOf } from "./real-runs.ts";
import { check, type Finding } from "./run.ts";
import type { Seed } from "./seed.ts";
import { KINDS, type Kind, SEEDS, SHIPPED, seedOf } from "./seeds.ts";

interface Options {
  readonly only?: readonly string[];
  readonly minutes: number;
  readonly real?: string | true;
  readonly control: boolean;
  readonly tries: number;
  readonly kind?: Kind;
  readonly json?: string;
  readonly markdown?: string;
}

/** What `--json` writes of a bug. */
interface Row {
  readonly seed: string;
  readonly what: string;
  readonly file: string;
  readonly found: boolean;
  readonly findings: readonly Omit<Finding, "seed">[];
}

/** `npm run seeds -- --help` says what it takes. Exit code 1 when somebody looked and nobody found it. */
async function main(options: Options): Promise<number> {
  const { kind, only, minutes, real, json, markdown } = options;
  const until_ms = performance.now() + minutes * 60_000;
  // A run of real parts is judged by the very eyes that the others are in.
  const all = real === undefined ? SEEDS : SHIPPED;
  const look = real === undefined ? check : realLook(options);
  const seeds = (only?.map(seedOf) ?? all).filter((seed) => kind === undefined || KINDS[kind].includes(seed));
  const rows: Row[] = [];
  const left: string[] = [];
  const lines: string[] = [];
  const say = (line: string): void => {
    lines.push(line);
    console.log(line);
  };
  say("| bug | what is wrong | found by | after | how it showed | s |");
  say("| --- | --- | --- | --- | --- | --- |");
  for (const seed of seeds) {
    if (performance.now() > until_ms) {
      left.push(seed.name);
      continue;
    }
    const findings = await look(seed);
    for (const finding of findings) say(rowOf(finding, seed.what));
    const { name, what, file } = seed;
    rows.push({ seed: name, what, file, found: findings.some((one) => one.what !== null), findings });
    // What was found out is kept, whatever comes of the rest.
    if (json !== undefined) writeFileSync(json, `${JSON.stringify({ seeds: rows, left }, null, 2)}\n`);
  }
  const asked = rows.filter(({ findings }) => findings.length > 0);
  const survivors = asked.filter(({ found }) => !found).map(({ seed }) => seed);
  say(`\n${asked.length - survivors.length} of ${asked.length} bugs were found.`);
  if (survivors.length > 0) say(`Nobody found: ${survivors.join(", ")}. Each is a hole in a check.`);
  if (left.length > 0) say(`Not looked at, the time was over: ${left.join(", ")}.`);
  if (json !== undefined) writeFileSync(json, `${JSON.stringify({ seeds: rows, left }, null, 2)}\n`);
  if (markdown !== undefined) writeFileSync(markdown, `${lines.join("\n")}\n`);
  return survivors.length === 0 && left.length === 0 ? 0 : 1;
}

/** Every bug's own run of real parts, or the one that was named for all of them. */
function realLook({ real, control, tries }: Options): (seed: Seed) => Promise<readonly Finding[]> {
  const controls = new Map<string, string | undefined>();
  return async (seed) => {
    const own = typeof real === "string" ? { run: real.split(" ") } : realRunOf(seed.name);
    if ("unseen" in own) {
      console.log(`| ${seed.name} | ${seed.what} | no run | | ${own.unseen} | |`);
      return [];
    }
    const key = own.run.join(" ");
    // A scenario as it is is what `npm test` plays.
    if (control && own.run.length > 1 && !controls.has(key)) controls.set(key, await controlOf(own.run));
    const without = controls.get(key);
    if (without === undefined) return [await checkReal(seed, own.run, tries)];
    const what = `without any bug as well: ${without}`;
    return [{ seed: seed.name, by: `run ${key}, which tells nothing`, what: null, tries: what, elapsed_ms: 0 }];
  };
}

function rowOf({ seed, by, what, tries, elapsed_ms }: Finding, wrong: string): string {
  const showed = what === null ? "" : what.replaceAll("|", "\\|").slice(0, 160);
  const who = what === null ? `not by the ${by}` : by;
  return `| ${seed} | ${wrong} | ${who} | ${tries} | ${showed} | ${(elapsed_ms / 1000).toFixed(1)} |`;
}

new Command("seeds")
  .description("Puts one bug after the other into builds of txsync, and says who finds it, and after how much.")
  .option("--only <names...>", "only these bugs")
  .addOption(
    new Option(
      "--kind <kind>",
      "only those in the core, in other parts, in the disks and the network, that were there once, or in the checks' own eyes",
    ).choices(Object.keys(KINDS)),
  )
  .option(
    "--real [run]",
    "in runs of real parts instead, some 15 s each: each bug's own (real-runs.ts), or these words of `ferryman run` for all",
  )
  .option("--tries <n>", "with --real: so many runs of each bug at most, until it shows", wholeNumber, 1)
  .option(
    "--no-control",
    "with --real: does not play each run that is not a scenario as it is once without any bug before",
  )
  .option("--json <file>", "write the result to this file, after each of them")
  .option("--markdown <file>", "write the table to this file")
  .option("--minutes <minutes>", "begin no other one after so long", time, 60)
  .action(async (options: Options) => {
    process.exitCode = await main(options);
  })
  .parse();
