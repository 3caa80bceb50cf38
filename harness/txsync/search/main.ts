import { writeFileSync } from "node:fs";
import { Command, InvalidArgumentError } from "commander";
import { minutes, wholeNumber } from "../../base/arguments.ts";
import { NOT_HERE, type RuleFound, searchable, searchWithout } from "./rules.ts";
import { type Found, Search } from "./search.ts";
import { tell } from "./tell.ts";
import { toSchedule } from "./translate.ts";
import { SETUPS } from "./world.ts";

interface Options {
  readonly depth: number;
  readonly faults: number;
  readonly minutes: number;
  readonly states: number;
  readonly rules: boolean;
  readonly onlyFaults: boolean;
  readonly part: { readonly number: number; readonly of: number };
  readonly setup?: number;
  readonly json?: string;
}

/** `npm run search -- --help` says what it takes. Exit code 1 when a rule was broken, or one that is off was not missed. */
function main(options: Options): number {
  const until_ms = performance.now() + options.minutes * 60_000;
  return options.rules ? withoutRules(options, until_ms) : whole(options, until_ms);
}

function whole(options: Options, until_ms: number): number {
  const { depth, faults, states, json, onlyFaults: only_faults, part } = options;
  const setups = options.setup === undefined ? SETUPS : SETUPS.slice(options.setup, options.setup + 1);
  const all: (Found & { readonly elapsed_ms: number })[] = [];
  let bad = 0;
  for (const [i, setup] of setups.entries()) {
    const began_ms = performance.now();
    const share_ms = began_ms + (until_ms - began_ms) / (setups.length - i);
    const found = new Search(setup, { depth, faults, states_max: states, until_ms: share_ms, only_faults, part }).run();
    const elapsed_ms = Math.round(performance.now() - began_ms);
    all.push({ ...found, elapsed_ms });
    console.log(lineOf(found, elapsed_ms));
    if (found.counterexample === null) continue;
    bad += 1;
    console.log(tell(setup, found.counterexample.moves).join("\n"));
    console.log(JSON.stringify(toSchedule(setup, found.counterexample.moves)));
  }
  if (json !== undefined) writeFileSync(json, `${JSON.stringify(all, null, 2)}\n`);
  return bad === 0 ? 0 : 1;
}

function lineOf({ setup, states, moves, steps, ends, complete, stopped, byDepth }: Found, elapsed_ms: number): string {
  const rate = Math.round(moves / Math.max(1, elapsed_ms));
  const how = stopped === null ? "all of them" : `stopped by ${stopped}`;
  return (
    `${setup}: ${states} states (${byDepth.join(" + ")} with 0, 1, ... moves out of order), ${moves} moves, ` +
    `longest way ${steps}, ${ends} ends judged; complete to depth ${complete}, ${how}; ` +
    `${(elapsed_ms / 1000).toFixed(1)} s, ${rate}k moves a second`
  );
}

function withoutRules({ depth, states, json }: Options, until_ms: number): number {
  const mutants = searchable();
  const rows: RuleFound[] = [];
  console.log("| rule that is off | found | out of order | moves | states | s |");
  console.log("| --- | --- | --- | --- | --- | --- |");
  for (const [i, mutant] of mutants.entries()) {
    const now_ms = performance.now();
    const row = searchWithout(mutant, depth, states, now_ms + (until_ms - now_ms) / (mutants.length - i));
    rows.push(row);
    console.log(rowOf(row));
  }
  for (const [rule, why] of Object.entries(NOT_HERE)) console.log(`| ${rule} | not searched: ${why} | | | | |`);
  if (json !== undefined) writeFileSync(json, `${JSON.stringify(rows, null, 2)}\n`);
  return rows.every(({ counterexample }) => counterexample !== null) ? 0 : 1;
}

export function rowOf({ rule, counterexample: found, states, elapsed_ms }: RuleFound): string {
  const what = found === null ? "**not found**" : found.what;
  const [depth, moves] = found === null ? ["", ""] : [found.depth, found.moves.length];
  return `| ${rule} | ${what} | ${depth} | ${moves} | ${states} | ${(elapsed_ms / 1000).toFixed(1)} |`;
}

function partOf(text: string): Options["part"] {
  const [, number = "", of = ""] = /^(\d+)\/(\d+)$/.exec(text) ?? [];
  if (of === "" || Number(number) < 1 || Number(number) > Number(of))
    throw new InvalidArgumentError("It is a part of how many, such as 1/4.");
  return { number: Number(number) - 1, of: Number(of) };
}

new Command("search")
  .description(
    "Goes every way that the core of txsync can take with so many moves out of order, and looks at the invariants after each.",
  )
  .option("--depth <moves>", "how many moves may be out of order", wholeNumber, 2)
  .option("--faults <faults>", "how many of them may be faults", wholeNumber, 1)
  .option("--minutes <minutes>", "for how long at most", minutes, 1)
  .option(
    "--states <states>",
    "how many states at most, of each set-up (a million takes some 60 MB)",
    wholeNumber,
    20_000_000,
  )
  .option("--rules", "switch off one rule after the other, and say where that is found", false)
  .option("--only-faults", "nothing is out of order but faults, which end when all has come to rest", false)
  .option("--part <i/n>", "of the last depth this part: n runs of it go all ways together", partOf, {
    number: 0,
    of: 1,
  })
  .option("--setup <number>", "this set-up alone, from 0 on", wholeNumber)
  .option("--json <file>", "write the result to this file too")
  .action((options: Options) => {
    process.exitCode = main(options);
  })
  .parse();
