import { Command, InvalidArgumentError, Option } from "commander";
import { checkReal } from "./real.ts";
import { check, type Finding } from "./run.ts";
import { SEEDS, seedOf } from "./seeds.ts";

interface Options {
  readonly only?: readonly string[];
  readonly minutes: number;
  readonly real?: string;
  readonly kind?: "core" | "parts";
}

/** `npm run seeds -- --help` says what it takes. Exit code 1 when somebody looked and nobody found it. */
async function main({ kind, only, minutes, real }: Options): Promise<number> {
  const until_ms = performance.now() + minutes * 60_000;
  const wanted = only === undefined ? SEEDS : only.map(seedOf);
  const seeds = wanted.filter(({ by }) => kind === undefined || (by === "core") === (kind === "core"));
  const survivors: string[] = [];
  const left: string[] = [];
  console.log("| bug | what is wrong | found by | after | how it showed | s |");
  console.log("| --- | --- | --- | --- | --- | --- |");
  for (const seed of seeds) {
    if (performance.now() > until_ms) {
      left.push(seed.name);
      continue;
    }
    const findings = real === undefined ? await check(seed) : [await checkReal(seed, real)];
    for (const finding of findings) console.log(rowOf(finding, seed.what));
    if (findings.every(({ what }) => what === null)) survivors.push(seed.name);
  }
  const tried = seeds.length - left.length;
  console.log(`\n${tried - survivors.length} of ${tried} bugs were found.`);
  if (survivors.length > 0) console.log(`Nobody found: ${survivors.join(", ")}. Each is a hole in a check.`);
  if (left.length > 0) console.log(`Not looked at, the time was over: ${left.join(", ")}.`);
  return survivors.length === 0 && left.length === 0 ? 0 : 1;
}

function rowOf({ seed, by, what, tries, elapsed_ms }: Finding, wrong: string): string {
  const showed = what === null ? "" : what.replaceAll("|", "\\|").slice(0, 160);
  const who = what === null ? `not by the ${by}` : by;
  return `| ${seed} | ${wrong} | ${who} | ${tries} | ${showed} | ${(elapsed_ms / 1000).toFixed(1)} |`;
}

function time(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !(value > 0)) throw new InvalidArgumentError("Not a time.");
  return value;
}

new Command("seeds")
  .description("Puts one bug after the other into builds of txsync, and says who finds it, and after how much.")
  .option("--only <names...>", "only these bugs")
  .addOption(
    new Option("--kind <kind>", "only those in the core, or only those in other parts").choices(["core", "parts"]),
  )
  .option("--real <scenario>", "in a real run of this scenario instead: some 20 s each")
  .option("--minutes <minutes>", "begin no other one after so long", time, 60)
  .action(async (options: Options) => {
    process.exitCode = await main(options);
  })
  .parse();
