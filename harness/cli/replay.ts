import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Command } from "commander";
import * as z from "zod";
import { UserError } from "../base/errors.ts";
import type { RunRecord } from "../base/run-record.ts";
import { VERDICTS } from "../base/timeline.ts";
import { splitWords } from "../base/words.ts";
import { say } from "../run/prepare.ts";
import { addManagerOptions, type ConfigurationOptions } from "./configuration.ts";
import { interruptible } from "./interrupt.ts";
import { LIMITS } from "./limits.ts";
import { within } from "./options.ts";
import { chosenOf, declareRun, type RunFlags, runScenarios } from "./run.ts";

const RECORD = z.looseObject({
  scenario: z.string(),
  verdict: z.enum(VERDICTS),
  as_expected: z.boolean(),
  why: z.string(),
  command: z.string(),
  versions: z.record(z.string(), z.string()),
  qemu_version: z.string(),
  manager: z.exactOptional(z.string()),
});
type Replayed = z.infer<typeof RECORD>;

/** `replay <run>`: exactly that again: scenario, seed, settings, QEMUs. */
export function registerReplay(program: Command): void {
  const command = program
    .command("replay")
    .description("run a run again as it was, and say how often it comes out like that; exit code 0: each time")
    .argument("<run>", "a run's folder")
    .option("--repeat <times>", "how often", within(LIMITS.repeat), 1)
    .option("--jobs <number>", "how many at a time", within(LIMITS.jobs), 1)
    .option("--json", "one JSON object a run on standard output, and nothing else there");
  addManagerOptions(command).action((folder: string, options: ReplayOptions) =>
    interruptible((signal) => replay(folder, options, signal)),
  );
}

interface ReplayOptions extends Pick<ConfigurationOptions, "manager" | "managerPatience"> {
  readonly repeat: number;
  readonly jobs: number;
  readonly json?: true;
}

async function replay(
  folder: string,
  { repeat, jobs, json, manager, managerPatience }: ReplayOptions,
  signal: AbortSignal,
): Promise<void> {
  const was = recordIn(folder);
  const words = splitWords(was.command);
  const said = declareRun(new Command())
    .exitOverride()
    .parse([...words.slice(words.indexOf("run") + 1)], { from: "user" });
  const options: RunFlags = {
    ...said.opts<RunFlags>(),
    repeat,
    jobs,
    ...(json === undefined ? {} : { json }),
    ...(manager === undefined ? {} : { manager }),
    ...(managerPatience === undefined ? {} : { managerPatience }),
  };
  say(`again, ${repeat} times: ${was.command}`);
  say(`it was ${was.verdict}: ${was.why.split("\n")[0]}`);
  const chosen = await chosenOf(said.args, options);
  const records = await runScenarios(chosen, options, signal);
  const [first] = records;
  if (first === undefined) return;
  const differences = [...differencesOf(was, first), ...records.flatMap((is) => managerOtherThan(was, is))];
  for (const line of differences) say(`not as it was: ${line}`);
  if (differences.length === 0) say("QEMU, Ferryman, Node, engine, kernel and images are what they were");
  const alike = records.filter(
    ({ verdict, as_expected }) => verdict === was.verdict && as_expected === was.as_expected,
  ).length;
  const text = `${alike} of ${records.length} came out as it was: ${was.verdict}${was.as_expected ? "" : ", not as expected"}`;
  if (json === true) say(text);
  else console.log(`\n${text}`);
  process.exitCode = alike === records.length ? 0 : 1;
}

/** @throws UserError */
function recordIn(folder: string): Replayed {
  const file = join(folder, "run.json");
  if (!existsSync(file)) throw new UserError(`${folder} is no run that ended: there is no run.json.`);
  let data: unknown;
  try {
    data = JSON.parse(readFileSync(file, "utf8"));
  } catch {
    throw new UserError(`${file} is torn.`);
  }
  const parsed = RECORD.safeParse(data);
  if (!parsed.success) throw new UserError(`${file} is no record of a run.`);
  if (parsed.data.command.startsWith("("))
    throw new UserError(`${folder} was asked for by a program, and there is no command that runs it again.`);
  return parsed.data;
}

/** What drives it, where that is another one than it was. */
function managerOtherThan({ manager: was }: Replayed, { manager: is, verdict }: RunRecord): readonly string[] {
  return was === is || is === undefined ? [] : [`its manager is ${is} (${verdict}), and was ${was ?? "none"}`];
}

/** What is another version now than it was, each in a few words. */
export function differencesOf(
  was: Pick<Replayed, "versions" | "qemu_version">,
  is: Pick<Replayed, "versions" | "qemu_version">,
): readonly string[] {
  const before: Readonly<Record<string, string>> = { QEMU: was.qemu_version, ...was.versions };
  const now: Readonly<Record<string, string>> = { QEMU: is.qemu_version, ...is.versions };
  const names = [...new Set([...Object.keys(before), ...Object.keys(now)])];
  return names.flatMap((name) =>
    before[name] === now[name]
      ? []
      : [`${name} is ${now[name] ?? "not known"}, and was ${before[name] ?? "not known"}`],
  );
}
