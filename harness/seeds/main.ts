import { writeFileSync } from "node:fs";
import { Command, Option } from "commander";
import { minutes as time } from "../base/arguments.ts";
import { checkReal } from "./real.ts";
import { check, type Finding } from "./run.ts";
import { KINDS, type Kind, SEEDS, seedOf } from "./seeds.ts";

interface Options {
  readonly only?: readonly string[];
  readonly minutes: number;
  readonly real?: string;
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
async function main({ kind, only, minutes, real, json, markdown }: Options): Promise<number> {
  const until_ms = performance.now() + minutes * 60_000;
  const seeds = (only?.map(seedOf) ?? SEEDS).filter((seed) => kind === undefined || KINDS[kind].includes(seed));
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
    const findings = real === undefined ? await check(seed) : [await checkReal(seed, real)];
    for (const finding of findings) say(rowOf(finding, seed.what));
    const { name, what, file } = seed;
    rows.push({ seed: name, what, file, found: findings.some((one) => one.what !== null), findings });
    // What was found out is kept, whatever comes of the rest.
    if (json !== undefined) writeFileSync(json, `${JSON.stringify({ seeds: rows, left }, null, 2)}\n`);
  }
  const survivors = rows.filter(({ found }) => !found).map(({ seed }) => seed);
  say(`\n${rows.length - survivors.length} of ${rows.length} bugs were found.`);
  if (survivors.length > 0) say(`Nobody found: ${survivors.join(", ")}. Each is a hole in a check.`);
  if (left.length > 0) say(`Not looked at, the time was over: ${left.join(", ")}.`);
  if (json !== undefined) writeFileSync(json, `${JSON.stringify({ seeds: rows, left }, null, 2)}\n`);
  if (markdown !== undefined) writeFileSync(markdown, `${lines.join("\n")}\n`);
  return survivors.length === 0 && left.length === 0 ? 0 : 1;
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
      "only those in the core, in other parts, in the disks and the network, or in the checks' own eyes",
    ).choices(Object.keys(KINDS)),
  )
  .option("--real <scenario>", "in a real run of this scenario instead: some 20 s each")
  .option("--json <file>", "write the result to this file, after each of them")
  .option("--markdown <file>", "write the table to this file")
  .option("--minutes <minutes>", "begin no other one after so long", time, 60)
  .action(async (options: Options) => {
    process.exitCode = await main(options);
  })
  .parse();
