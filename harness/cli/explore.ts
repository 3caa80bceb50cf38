import { createHash, randomBytes, randomInt } from "node:crypto";
import { readFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import type { Command } from "commander";
import type { Configuration } from "../base/configuration.ts";
import { UserError } from "../base/errors.ts";
import type { Recovery } from "../base/run-record.ts";
import type { TimelineEvent } from "../base/timeline.ts";
import { quoteWord } from "../base/words.ts";
import { roughly } from "../bench/estimate.ts";
import { beginCampaign, type Done, resumeCampaign } from "../explore/campaign.ts";
import { Coverage, PATHS, Tracer } from "../explore/coverage.ts";
import { drawJob } from "../explore/draw.ts";
import { Estimate } from "../explore/estimate.ts";
import type { Job, QemuPair, Setting } from "../explore/job.ts";
import { reachableSteps } from "../explore/reach.ts";
import { isMine, type Shard } from "../explore/shard.ts";
import { type Came, type Shrunk, shrink } from "../explore/shrink.ts";
import { DEFAULT_QEMU } from "../fleet/images.ts";
import { checkMemory, RUNS_FOLDER, say } from "../run/prepare.ts";
import { makeProgress } from "../run/progress.ts";
import type { Scenario } from "../run/scenario.ts";
import { thisCommand } from "./again.ts";
import { addCampaignOptions, type CampaignOptions, settingsAsked, shardFor } from "./campaign-options.ts";
import { writeCampaignSuite } from "./campaign-run.ts";
import { addManagerOptions, type ConfigurationOptions, configurationFrom } from "./configuration.ts";
import { FAULT_NAMES, printFault } from "./fault-grammar.ts";
import { interruptible } from "./interrupt.ts";
import { Laboratory, namedBy } from "./laboratory.ts";
import { markLatest } from "./latest.ts";
import { LIMITS } from "./limits.ts";
import { oneOf, within } from "./options.ts";
import { jsonLine, qemuPairs, type RecoveryAsked, recoveriesOf } from "./run.ts";
import { saveScenario } from "./scenario-file.ts";
import { stamp } from "./stamp.ts";

interface ExploreOptions extends CampaignOptions, Pick<ConfigurationOptions, "manager" | "managerPatience"> {
  readonly recovery: RecoveryAsked;
  readonly pairs?: readonly QemuPair[];
  readonly seeds?: number;
  readonly minutes?: number;
  readonly seed?: number;
  readonly memory: number;
  readonly jobs: number;
  readonly shrink: boolean;
  readonly json?: boolean;
  readonly steps?: readonly string[];
  readonly faults?: readonly string[];
}

const COUNT = { least: 1, most: 1_000_000 };

export function registerExplore(program: Command): void {
  const command = program
    .command("explore")
    .description("draw schedules of faults from seeds, and shrink what does not come out as the model says")
    .option("--seeds <number>", "so many schedules", within(COUNT))
    .option("--minutes <number>", "as many as there is time for; what has begun ends", within(COUNT))
    .option("--seed <number>", "the first seed; the others follow it; default is a new one", within(LIMITS.seed))
    .option("--recovery <kind>", "txsync, stock or both", oneOf<RecoveryAsked>("stock", "txsync", "both"), "txsync")
    .option("--pairs <list>", "QEMUs to draw from: 7.2,10.0 (the same on both sides), 7.2:10.0, or all", qemuPairs)
    .option("--memory <MiB>", "guest memory", within(LIMITS.memory_mib), 128)
    .option(
      "--jobs <number>",
      "how many runs go on at a time; more than one for two processors carry their VMs in turns",
      within(LIMITS.jobs),
      1,
    )
    .option("--no-shrink", "what fails is not made smaller")
    .option("--json", "one JSON object a run on standard output, and nothing else there")
    .option("--steps <globs>", "only these steps, by commas (list --steps)", (text) => text.split(","))
    .option("--faults <globs>", "only these faults, by commas, such as kill-*", (text) => text.split(","));
  addManagerOptions(addCampaignOptions(command)).action((options: ExploreOptions) =>
    interruptible((signal) => explore(options, signal)),
  );
}

async function explore(options: ExploreOptions, signal: AbortSignal): Promise<void> {
  if (options.seeds === undefined && options.minutes === undefined)
    throw new UserError("How long? Say --seeds <number> or --minutes <number>.");
  const shard = shardFor(options);
  const resumed = options.resume === undefined ? undefined : await resumeCampaign(options.resume);
  if (resumed !== undefined && resumed.campaign.kind !== "explore")
    throw new UserError(`${options.resume ?? ""} is a matrix: go on with it by run --matrix --resume.`);
  const folder =
    options.resume ??
    options.folder ??
    join(RUNS_FOLDER, `explore-${stamp(new Date())}-${randomBytes(2).toString("hex")}`);
  // Room for the seeds that follow: they are 32 bits too.
  const first = resumed?.campaign.seed ?? options.seed ?? randomInt(2 ** 30);
  checkMemory(options.memory * 1024 ** 2, options.jobs);
  const laboratory = new Laboratory(folder, signal, options.jobs);
  const settings = await settingsAsked(laboratory, {
    recoveries: recoveriesOf(options.recovery),
    managers: options.manager,
    manager_patience_ms: configurationFrom(options).manager_patience_ms,
    qemus: options.pairs ?? [{ source: DEFAULT_QEMU, target: DEFAULT_QEMU }],
    guests: options.guests ?? ["integrity"],
    accels: options.accels ?? ["tcg"],
    memory_mib: options.memory,
    txsync: {},
  });
  const command = resumed?.campaign.command ?? thisCommand();
  const started_at = resumed?.campaign.started_at ?? new Date().toISOString();
  if (resumed === undefined)
    await beginCampaign(folder, {
      kind: "explore",
      command,
      started_at,
      plan: createHash("sha256")
        .update(JSON.stringify([settings, options.steps, options.faults]))
        .digest("hex"),
      seed: first,
      ...(shard === undefined ? {} : { shard: { index: shard.index, of: shard.of } }),
      jobs: [],
    });
  // A folder of one's own stands where nobody looks for the latest run.
  if (dirname(resolve(folder)) === resolve(RUNS_FOLDER)) await markLatest(folder);
  say(
    `seeds from ${first} on; runs go to ${folder}; after an interruption: the same command with --resume ${quoteWord(folder)}`,
  );
  const exploration = new Exploration(laboratory, settings, options, first, shard, resumed?.done ?? []);
  await exploration.restore();
  await exploration.run();
  const { page } = await writeCampaignSuite(folder, { command, started_at });
  const shrunk = options.shrink && !signal.aborted ? await exploration.shrinkAll(folder) : [];
  if (options.json !== true) {
    console.log(`\n${exploration.coverageText()}`);
    for (const text of shrunk) console.log(`\n${text}`);
    console.log(`\n${exploration.countsText()}`);
    if (page !== undefined) console.log(`\nreport: ${page}`);
  }
  signal.throwIfAborted();
  process.exitCode = exploration.red.length === 0 ? 0 : 1;
}

interface Red {
  readonly job: Job;
  readonly came: Came;
  readonly why: string;
  readonly folder: string;
}

class Exploration {
  readonly #laboratory: Laboratory;
  readonly #settings: readonly Setting[];
  readonly #options: ExploreOptions;
  readonly #first: number;
  readonly #shard: Shard | undefined;
  readonly #done: readonly Done[];
  readonly #coverage = new Coverage();
  readonly #verdicts = new Map<string, number>();
  readonly red: Red[] = [];
  #made = 0;
  #cells_late = 0;

  constructor(
    laboratory: Laboratory,
    settings: readonly Setting[],
    options: ExploreOptions,
    first: number,
    shard: Shard | undefined,
    done: readonly Done[],
  ) {
    this.#laboratory = laboratory;
    this.#settings = settings;
    this.#options = options;
    this.#first = first;
    this.#shard = shard;
    this.#done = done;
  }

  /** What was seen before an interruption, from the timelines. */
  async restore(): Promise<void> {
    for (const { folder, verdict, as_expected, job } of this.#done) {
      this.#count(verdict, as_expected);
      const setting = this.#settings.find(({ recovery }) => job.includes(recovery)) ?? this.#settings[0];
      if (setting === undefined) continue;
      const tracer = new Tracer(NOTHING, setting.recovery);
      for (const event of await eventsIn(folder)) tracer.see(event);
      this.#coverage.add(tracer.trace);
    }
  }

  async run(): Promise<void> {
    const { jobs: at_a_time, seeds = Number.POSITIVE_INFINITY, minutes } = this.#options;
    const until_ms = minutes === undefined ? Number.POSITIVE_INFINITY : performance.now() + minutes * 60_000;
    const ran = new Set(this.#done.map(({ job }) => job));
    const estimate = new Estimate(at_a_time);
    const progress = makeProgress(process.stderr, this.#options.json === true);
    let seed = this.#first;
    const next = (): Job | undefined => {
      while (seed < this.#first + seeds && performance.now() < until_ms && !this.#laboratory.signal.aborted) {
        const mine = seed;
        seed += 1;
        if (!isMine(`seed ${mine}`, this.#shard) || ran.has(`seed ${mine}`)) continue;
        return drawJob(mine, this.#settings, this.#coverage, this.#options);
      }
      return undefined;
    };
    const worker = async (): Promise<void> => {
      for (let job = next(); job !== undefined; job = next()) {
        const tracer = new Tracer(job.scenario, job.recovery);
        const name = `${job.scenario.id} ${job.recovery}`;
        const mine = job;
        const { record, folder } = await this.#laboratory.run(mine, (event) => {
          tracer.see(event);
          progress.onEvent(name, event);
        });
        if (this.#laboratory.signal.aborted) return;
        const before = this.#coverage.cells;
        this.#coverage.add(tracer.trace);
        this.#cells_late = this.#coverage.cells - before;
        this.#count(record.verdict, record.as_expected);
        estimate.ran(mine, record.timings.total_ms);
        progress.onFinished(name, record);
        if (this.#options.json === true) console.log(JSON.stringify(jsonLine(record, folder)));
        else {
          const rest = Math.min(this.#first + seeds - seed, Number.MAX_SAFE_INTEGER);
          const left_ms = Math.min(until_ms - performance.now(), estimate.one_ms(mine) * (rest / at_a_time));
          const faults = mine.scenario.faults.map((plan, index) => printFault(plan, index)).join(" ");
          say(`     ${faults}`);
          say(
            `     ${this.#made} made, ${this.#coverage.cells} places seen (${this.#cells_late} new), about ${roughly(left_ms)} left`,
          );
        }
        if (!record.as_expected && record.verdict !== "unknown")
          this.red.push({ job: mine, came: record, why: record.why, folder });
      }
    };
    await Promise.all(Array.from({ length: at_a_time }, worker));
    progress.close();
  }

  #count(verdict: string, as_expected: boolean): void {
    this.#made += 1;
    const key = as_expected || verdict === "unknown" ? verdict : `${verdict} against the model`;
    this.#verdicts.set(key, (this.#verdicts.get(key) ?? 0) + 1);
  }

  /** Makes what failed smaller, each in a folder of its own, and writes it as a scenario. */
  async shrinkAll(folder: string): Promise<readonly string[]> {
    const texts: string[] = [];
    for (const { job, came, why, folder: run } of this.red) {
      if (this.#laboratory.signal.aborted) break;
      say(`\nmaking ${job.scenario.id} smaller (${came.verdict}: ${why.split("\n")[0]})`);
      const laboratory = new Laboratory(join(folder, "shrinking"), this.#laboratory.signal);
      const shrunk = await shrink(job, came, async (smaller) => {
        const { record } = await laboratory.run(smaller);
        if (this.#laboratory.signal.aborted) return undefined;
        say(`     ${record.verdict}${record.as_expected ? "" : " again"}: ${namedBy(smaller)}`);
        return record;
      });
      const file = join(folder, `${job.scenario.id}.scenario.ts`);
      await saveScenario(file, wellSaid(shrunk, came, why), `explore, from ${run}`);
      texts.push(shrunkText(job, shrunk, file));
    }
    return texts;
  }

  coverageText(): string {
    const recoveries = [...new Set(this.#settings.map(({ recovery }) => recovery))];
    return recoveries.map((recovery) => coverageOf(this.#coverage, recovery)).join("\n");
  }

  countsText(): string {
    const counts = [...this.#verdicts].sort(([, a], [, b]) => b - a).map(([verdict, count]) => `${count} ${verdict}`);
    return `${this.#made} runs: ${counts.join(", ")}; ${this.#coverage.cells} places (a fault at a step, on a way) were seen`;
  }
}

/** For timelines of runs whose scenario is not at hand: what struck is told by where the run was. */
const NOTHING: Pick<Scenario, "faults"> = { faults: [] };

function coverageOf(coverage: Coverage, recovery: Recovery): string {
  const steps = reachableSteps(recovery).map((step) => ({ what: step, times: coverage.times(recovery, "step", step) }));
  const paths = PATHS[recovery].map((path) => ({ what: path, times: coverage.times(recovery, "path", path) }));
  const faults = FAULT_NAMES.map((fault) => ({
    what: fault,
    times: reachableSteps(recovery).reduce(
      (sum, step) => sum + coverage.times(recovery, "struck", `${fault} at ${step}`),
      0,
    ),
  }));
  const said = (all: readonly { readonly what: string; readonly times: number }[]): string => {
    const seen = all.filter(({ times }) => times > 0).map(({ what, times }) => `${what} ${times}`);
    const never = all.filter(({ times }) => times === 0).map(({ what }) => what);
    return `${seen.join(", ") || "none"}${never.length === 0 ? "" : `\n    never: ${never.join(", ")}`}`;
  };
  return [
    `coverage under ${recovery} (runs that came to it)`,
    `  steps:  ${said(steps)}`,
    `  faults: ${said(faults)}`,
    `  ways:   ${said(paths)}`,
  ].join("\n");
}

async function eventsIn(folder: string): Promise<readonly TimelineEvent[]> {
  const text = await readFile(join(folder, "timeline.ndjson"), "utf8").catch(() => "");
  return text.split("\n").flatMap((line): TimelineEvent[] => {
    try {
      return line === "" ? [] : [JSON.parse(line) as TimelineEvent];
    } catch {
      return [];
    }
  });
}

function wellSaid({ job, failed, runs }: Shrunk, came: Came, why: string): Scenario {
  const title = `${came.verdict} in ${failed} of ${runs} runs: ${why.split("\n")[0] ?? ""}`;
  const { qemus, txsync, recovery, manager, manager_patience_ms } = job;
  const configuration: Configuration = {
    ...(qemus.source === qemus.target ? {} : { source_qemu: qemus.source, target_qemu: qemus.target }),
    ...(manager === undefined ? {} : { manager }),
    ...(manager_patience_ms === undefined ? {} : { manager_patience_ms }),
  };
  return {
    ...job.scenario,
    title,
    ...(recovery === "txsync" && Object.keys(txsync).length > 0 ? { txsync } : {}),
    ...(Object.keys(configuration).length === 0 ? {} : { configuration }),
  };
}

function shrunkText(before: Job, { job, failed, runs, spent, steps }: Shrunk, file: string): string {
  const faults = (of: Job): string => of.scenario.faults.map((plan, index) => printFault(plan, index)).join(" ");
  return [
    `${before.scenario.id}: ${faults(before)}`,
    `  smallest: ${faults(job)} (${steps.length === 0 ? "nothing could be taken away" : steps.join(", ")})`,
    `  fails in ${failed} of ${runs} runs; ${spent} runs were spent on it; ${file}`,
  ].join("\n");
}
