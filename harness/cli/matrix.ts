import { createHash, randomBytes, randomInt } from "node:crypto";
import { dirname, join, resolve } from "node:path";
import { type Command, InvalidArgumentError } from "commander";
import { UserError } from "../base/errors.ts";
import type { GuestKind } from "../base/run-record.ts";
import { quoteWord } from "../base/words.ts";
import { roughly } from "../bench/estimate.ts";
import { beginCampaign, type Done, resumeCampaign } from "../explore/campaign.ts";
import { cellsOf, scenarioOf, sliceOf } from "../explore/cells.ts";
import { Estimate } from "../explore/estimate.ts";
import { type Job, jobOf, worldOf } from "../explore/job.ts";
import { isMine } from "../explore/shard.ts";
import { GUEST_KINDS } from "../run/guests/index.ts";
import { checkMemory, RUNS_FOLDER, say } from "../run/prepare.ts";
import { textTable } from "../run/table.ts";
import { thisCommand } from "./again.ts";
import { type CampaignOptions, settingsAsked, shardFor } from "./campaign-options.ts";
import { runJobs, writeCampaignSuite } from "./campaign-run.ts";
import { configurationFrom, configurationWords } from "./configuration.ts";
import { Laboratory } from "./laboratory.ts";
import { markLatest } from "./latest.ts";
import { matrixText, type Placed } from "./matrix-text.ts";
import { jsonLine, type RunOptions, recoveriesOf, settingsOf } from "./run.ts";
import { stamp } from "./stamp.ts";

export interface MatrixOptions extends CampaignOptions {
  readonly matrix?: boolean;
  readonly matrixSlice?: number;
  readonly steps?: readonly string[];
  readonly faults?: readonly string[];
}

export function addMatrixOptions(command: Command): Command {
  return command
    .option(
      "--matrix",
      "every fault at every step at which it can happen; on each of --pairs, --guests, --accels, and under --recovery",
    )
    .option(
      "--matrix-slice <n>",
      "matrix: each step once, with one of the faults; slice 0, 1, 2, … together are all of it",
      whole,
    )
    .option("--steps <globs>", "matrix, explore: only these steps, by commas (list --steps)", globs)
    .option(
      "--faults <globs>",
      "matrix, explore: only these faults, by commas, such as kill-*,cut-reset-source-target",
      globs,
    );
}

function whole(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError("It is a whole number from 0 on.");
  return Number(text);
}

function globs(text: string): readonly string[] {
  return text.split(",");
}

/** `run --matrix`. */
export async function runMatrix(
  options: RunOptions & MatrixOptions & { readonly dryRun?: boolean },
  signal: AbortSignal,
): Promise<void> {
  refuseConfiguration(options);
  const shard = shardFor(options);
  const resumed = options.resume === undefined ? undefined : await resumeCampaign(options.resume);
  const folder =
    options.resume ??
    options.folder ??
    join(RUNS_FOLDER, `matrix-${stamp(new Date())}-${randomBytes(2).toString("hex")}`);
  if (resumed !== undefined && resumed.campaign.kind !== "matrix")
    throw new UserError(`${folder} is an exploration: go on with it by explore --resume.`);
  if (resumed !== undefined && resumed.dropped.length > 0)
    say(`what was under way when it ended is made again: ${resumed.dropped.join(", ")}`);
  const seed = resumed?.campaign.seed ?? options.seed ?? randomInt(2 ** 32);
  checkMemory(options.memory * 1024 ** 2, options.jobs);
  const laboratory = new Laboratory(folder, signal, options.jobs);
  const all = await matrixJobs(laboratory, options, seed);
  const jobs = all.filter(({ key }) => isMine(key, shard));
  const of =
    shard === undefined
      ? ""
      : `, of which ${jobs.length} are this machine's: part ${shard.index} of ${shard.of}, by ${shard.from}`;
  say(`${all.length} runs in the matrix${of}`);
  if (options.dryRun === true) {
    sayJobs(jobs, options.jobs);
    return;
  }
  const plan = createHash("sha256")
    .update(all.map(({ key }) => key).join("\n"))
    .digest("hex");
  if (resumed !== undefined && resumed.campaign.plan !== plan)
    throw new UserError(
      `${folder} is of another matrix than this command asks for. It was begun by: ${resumed.campaign.command}`,
    );
  const command = resumed?.campaign.command ?? thisCommand();
  const started_at = resumed?.campaign.started_at ?? new Date().toISOString();
  if (resumed === undefined)
    await beginCampaign(folder, {
      kind: "matrix",
      command,
      started_at,
      plan,
      seed,
      ...(shard === undefined ? {} : { shard: { index: shard.index, of: shard.of } }),
      jobs: jobs.map(({ key }) => key),
    });
  // A folder of one's own stands where nobody looks for the latest run.
  if (dirname(resolve(folder)) === resolve(RUNS_FOLDER)) await markLatest(folder);
  say(`runs go to ${folder}; after an interruption: the same command with --resume ${quoteWord(folder)}`);
  await runJobs(
    laboratory,
    jobs,
    resumed?.done ?? [],
    { at_a_time: options.jobs, quiet: options.json === true },
    {
      onFinished: (_, { record, folder: run }) => {
        if (options.json === true) console.log(JSON.stringify(jsonLine(record, run)));
      },
    },
  );
  const { done, page } = await writeCampaignSuite(folder, { command, started_at });
  signal.throwIfAborted();
  if (options.json !== true) {
    console.log(`\n${matrixText(placedOf(jobs, done))}`);
    if (page !== undefined) console.log(`\nreport: ${page}`);
  }
  process.exitCode = done.length === jobs.length && done.every(({ as_expected }) => as_expected) ? 0 : 1;
}

/** What the model, which says what ought to come out, knows nothing of. @throws UserError */
function refuseConfiguration(options: RunOptions): void {
  const {
    source_qemu: _s,
    target_qemu: _t,
    manager: _m,
    manager_patience_ms: _p,
    ...others
  } = configurationFrom(options);
  const [option] = configurationWords(others);
  if (option !== undefined)
    throw new UserError(
      `${option} cannot be had with --matrix: what ought to come of it is not modelled. Of how a migration is set up it takes --pairs, --source-qemu, --target-qemu, --manager and --manager-patience.`,
    );
}

async function matrixJobs(
  laboratory: Laboratory,
  options: RunOptions & MatrixOptions,
  seed: number,
): Promise<readonly Job[]> {
  const settings = await settingsAsked(laboratory, {
    recoveries: recoveriesOf(options.recovery),
    managers: options.manager,
    manager_patience_ms: configurationFrom(options).manager_patience_ms,
    qemus: options.pairs ?? [
      { source: options.sourceQemu ?? options.qemu, target: options.targetQemu ?? options.qemu },
    ],
    guests: options.guests ?? [kindNamed(options.guest ?? "integrity")],
    accels: options.accels ?? [options.accel],
    memory_mib: options.memory,
    txsync: settingsOf(options),
  });
  const jobs = settings.flatMap((setting) => {
    const all = cellsOf(setting.recovery, options, setting.manager);
    const cells = options.matrixSlice === undefined ? all : sliceOf(all, options.matrixSlice);
    const world = worldOf(setting);
    return cells.flatMap((cell) =>
      Array.from({ length: options.repeat }, (_, turn) => jobOf(scenarioOf(cell, world), setting, seed, turn + 1)),
    );
  });
  if (jobs.length === 0)
    throw new UserError(
      "Nothing of the matrix is of that choice: see list --steps, and run --matrix --dry-run for the faults.",
    );
  return jobs;
}

/** A matrix is of guests of ours: it has no scenario that could bring another. */
function kindNamed(name: string): GuestKind {
  const ours = GUEST_KINDS.filter((kind) => kind !== "custom");
  const found = ours.find((kind) => kind === name);
  if (found === undefined) throw new UserError(`A matrix is of ${ours.join(" and ")}, not of the guest "${name}".`);
  return found;
}

function sayJobs(jobs: readonly Job[], at_a_time: number): void {
  const rows = jobs.map(({ key, scenario, recovery }) => [
    key,
    [scenario.expect[recovery], ...(scenario.allow ?? []).map(({ verdict }) => verdict)].join(" or "),
    scenario.allow?.[0]?.why ?? "",
  ]);
  console.log(textTable(["run", "allowed", "why"], rows));
  say(`about ${roughly(new Estimate(at_a_time).left_ms(jobs))}`);
}

function placedOf(jobs: readonly Job[], done: readonly Done[]): readonly Placed[] {
  const runs = new Map(done.map((run) => [run.job, run]));
  return jobs.flatMap(({ key, scenario: { cell } }) => {
    const run = runs.get(key);
    return cell === undefined ? [] : [{ ...cell, ...(run === undefined ? {} : { run }) }];
  });
}
