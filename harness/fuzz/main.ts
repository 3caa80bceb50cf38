import { type ChildProcess, fork } from "node:child_process";
import { Command } from "commander";
import { minutes, wholeNumber } from "../base/arguments.ts";
import { type Fuzzed, fuzz } from "./fuzz.ts";
import { targets } from "./targets.ts";

/** An input that takes longer has hung its reader. */
const HANG_MS = 10_000;
/** Of a reader's process: more than all inputs together may make it hold. */
const HEAP_MIB = 256;
const TOLD_EVERY = 512;

interface Options {
  readonly cases: number;
  readonly seed: number;
  readonly minutes: number;
  readonly only?: string;
}

/** What the process of a reader says. */
type Said = { readonly at: number } | { readonly fuzzed: Fuzzed };

/** Each reader in a process of its own, with little memory, that has to say now and then how far it is. */
async function parent(options: Options): Promise<number> {
  let bad = 0;
  for (const { name } of targets()) {
    if (options.only !== undefined && options.only !== name) continue;
    const began_ms = performance.now();
    const result = await watch(options, name);
    const seconds = ((performance.now() - began_ms) / 1000).toFixed(1);
    if (typeof result === "string")
      console.log(`${name}: ${result}; again: npm run fuzz -- --only "${name}" --seed ${options.seed}`);
    else console.log(lineOf(result, seconds));
    if (typeof result === "string" || result.bug !== null) bad += 1;
  }
  return bad === 0 ? 0 : 1;
}

function lineOf({ target, cases, taken, kinds, bug }: Fuzzed, seconds: string): string {
  const line = `${target}: ${cases} inputs in ${seconds} s, ${taken} taken, ${kinds} different answers`;
  return bug === null ? line : `${line}\n  input ${bug.number}: ${bug.what}\n  ${bug.input.slice(0, 2_000)}`;
}

function watch(options: Options, name: string): Promise<Fuzzed | string> {
  const { cases, seed, minutes } = options;
  const child: ChildProcess = fork(import.meta.filename, ["--read", name, `${cases}`, `${seed}`, `${minutes}`], {
    execArgv: [...process.execArgv, `--max-old-space-size=${HEAP_MIB}`],
  });
  return new Promise((resolve) => {
    let at = 0;
    let timer: NodeJS.Timeout;
    const hangs = (): void => {
      resolve(`hangs at one of the ${TOLD_EVERY} inputs from ${at} on`);
      child.kill("SIGKILL");
    };
    const wait = (): void => {
      clearTimeout(timer);
      timer = setTimeout(hangs, HANG_MS);
    };
    timer = setTimeout(hangs, 3 * HANG_MS);
    child.on("message", (said: Said) => {
      wait();
      if ("at" in said) at = said.at;
      else resolve(said.fuzzed);
    });
    child.on("exit", (code, signal) => {
      clearTimeout(timer);
      resolve(`its process ended (${signal ?? code}) at one of the ${TOLD_EVERY} inputs from ${at} on`);
    });
  });
}

async function read([name = "", cases = "", seed = "", minutes = ""]: readonly string[]): Promise<void> {
  const target = targets().find((one) => one.name === name);
  if (target === undefined) throw new Error(`there is no reader ${name}`);
  const tell = (said: Said): void => void process.send?.(said);
  const onCase = (at: number): void => {
    if (at % TOLD_EVERY === 0) tell({ at });
  };
  const elapsed_ms_max = Number(minutes) * 60_000;
  const fuzzed = await fuzz(target, { seed: Number(seed), cases: Number(cases), elapsed_ms_max, onCase });
  tell({ fuzzed });
}

if (process.argv[2] === "--read") await read(process.argv.slice(3));
else {
  new Command("fuzz")
    .description(
      "Feeds whatever reads from outside with inputs that are nearly valid. Exit code 1 when one does what it must not.",
    )
    .option("--cases <inputs>", "inputs for each reader", wholeNumber, 1_000_000)
    .option("--minutes <minutes>", "for how long at most, each", minutes, 10)
    .option("--seed <seed>", "where to begin", wholeNumber, 1)
    .option(
      "--only <reader>",
      `one of: ${targets()
        .map(({ name }) => name)
        .join(", ")}`,
    )
    .action(async (options: Options) => {
      process.exitCode = await parent(options);
    })
    .parse();
}
