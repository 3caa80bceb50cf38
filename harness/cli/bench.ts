import { randomBytes, randomInt } from "node:crypto";
import { join } from "node:path";
import type { Command } from "commander";
import { aboutLines, tablesOf } from "../../reports/bench/rows.ts";
import { writeBench } from "../../reports/bench/write.ts";
import { writeSuite } from "../../reports/suite.ts";
import { writeReports } from "../../reports/write.ts";
import { SCENARIOS } from "../../scenarios/index.ts";
import { configurationTexts } from "../base/configuration.ts";
import { messageOf } from "../base/errors.ts";
import { FERRYMAN } from "../base/myself.ts";
import { benchRuns, guestOf, WHOLE_VM } from "../bench/bench.ts";
import { roughly } from "../bench/estimate.ts";
import { figuresOf, notesOf, RUNS_NEEDED } from "../bench/figures.ts";
import { machineNow, notQuiet } from "../bench/machine.ts";
import {
  configurationsOf,
  type Planned,
  partsOf,
  planOf,
  TOPICS,
  type Topic,
  VM_KINDS,
  type VmKind,
} from "../bench/plan.ts";
import { BENCH_VERSION, type BenchResult, type Sample } from "../bench/result.ts";
import { DEFAULT_QEMU } from "../fleet/images.ts";
import { checkWork, WRITE_RATE_MAX } from "../run/guests/work.ts";
import { accelFor, checkMemory, prepareRuns, RUNS_FOLDER, say } from "../run/prepare.ts";
import { PURE_POSTCOPY, type Scenario } from "../run/scenario.ts";
import { textTable } from "../run/table.ts";
import { DEFAULT_TXSYNC, type TxsyncSettings } from "../run/txsync/settings.ts";
import { interruptible } from "./interrupt.ts";
import { LIMITS } from "./limits.ts";
import { listOf, listWithin, oneOf, qemuName, rangeOf, within } from "./options.ts";
import { stamp } from "./stamp.ts";

interface BenchOptions {
  readonly quick?: boolean;
  readonly memory?: readonly number[];
  readonly writeRate?: readonly number[];
  readonly repeat?: number;
  readonly qemu: string;
  readonly accel: "auto" | "kvm" | "tcg";
  readonly switchoverBy: TxsyncSettings["switchover_by"];
  readonly only?: readonly Topic[];
  readonly seed?: number;
  readonly vm: VmKind;
  readonly json?: boolean;
}

const FULL = { memory: [128, 1024, 4096], writeRate: [1_000, 20_000, 100_000], repeat: RUNS_NEEDED, only: TOPICS };
/** What two minutes hold. */
const QUICK = { memory: [128], writeRate: [1_000], repeat: 2, only: ["migration", "recovery"] as const };
/** Of a VM with disks and a card: memory that a Linux guest works in, and what it writes to it by itself. */
const WHOLE = { ...QUICK, memory: [512], repeat: RUNS_NEEDED };
const RATE = { least: 0, most: WRITE_RATE_MAX };

export function registerBench(program: Command): void {
  program
    .command("bench")
    .description(
      "measure recovery, and what protection costs against stock, by size of the guest and by how much it writes",
    )
    .option(
      "--vm <kind>",
      "memory: the bare-metal guest, all memory; whole: Linux with two vCPUs, a network card and two disks, to which it writes as fast as it can",
      oneOf(...VM_KINDS),
      "memory",
    )
    .option("--quick", "about two minutes: one small guest, two runs of each; too few for figures")
    .option(
      "--memory <MiB,…>",
      `sizes of the guest, each ${rangeOf(LIMITS.memory_mib)}; default ${FULL.memory.join(",")}`,
      listWithin(LIMITS.memory_mib),
    )
    .option(
      "--write-rate <pages/s,…>",
      `pages that the guest rewrites in a second, each ${rangeOf(RATE)}; default ${FULL.writeRate.join(",")}`,
      listWithin(RATE),
    )
    .option(
      "--repeat <times>",
      `runs of each, in turns; default ${FULL.repeat}, fewer make no figures`,
      within(LIMITS.repeat),
    )
    .option("--qemu <name>", "QEMU version, or an image of your own", qemuName, DEFAULT_QEMU)
    .option("--accel <kind>", "auto, kvm or tcg", oneOf("auto", "kvm", "tcg"), "tcg")
    .option(
      "--switchover-by <who>",
      "agent or qemu, under txsync; stock beside it makes one pass of pre-copy first, or switches over at once",
      oneOf<TxsyncSettings["switchover_by"]>("agent", "qemu"),
      DEFAULT_TXSYNC.switchover_by,
    )
    .option(
      "--only <topic,…>",
      `of ${TOPICS.join(", ")}; default is all of them, and with --quick the first two`,
      listOf<Topic>(...TOPICS),
    )
    .option(
      "--seed <number>",
      `seed of the first turn's guests, ${rangeOf(LIMITS.seed)}; default is a new one`,
      within(LIMITS.seed),
    )
    .option("--json", "one JSON object on standard output, and nothing else there")
    .action((options: BenchOptions) => interruptible((signal) => bench(options, signal)));
}

async function bench(options: BenchOptions, signal: AbortSignal): Promise<void> {
  const machine = machineNow();
  const loud = notQuiet(machine);
  if (loud !== undefined) say(`*** ${loud}`);
  const { vm } = options;
  const guest = guestOf(vm);
  const full = vm === "whole" ? WHOLE : FULL;
  const chosen = options.quick ? { ...QUICK, ...(vm === "whole" ? { memory: WHOLE.memory } : {}) } : full;
  const [memories, rates, repeat] = [
    options.memory ?? chosen.memory,
    options.writeRate ?? chosen.writeRate,
    options.repeat ?? chosen.repeat,
  ];
  checkMemory(Math.max(...memories) * 1024 ** 2, 1);
  for (const memory of memories)
    for (const rate of rates) checkWork(guest, memory * 1024 ** 2, { write_rate_pages_per_s: rate });
  const started_at = new Date();
  const seed = options.seed ?? randomInt(2 ** 32);
  const configurations = configurationsOf(memories, rates);
  const parts = partsOf(options.only ?? chosen.only, options.switchoverBy);
  const plan = planOf(configurations, repeat, seed, parts);
  const folder = join(RUNS_FOLDER, `bench-${stamp(started_at)}-${randomBytes(2).toString("hex")}`);
  const environment = {
    ...(await prepareRuns(options.qemu, signal, { storage: vm === "whole" })),
    runs_folder: join(folder, "runs"),
  };
  const accel = await accelFor(environment, guest, options.accel);
  say(`QEMU ${environment.qemu_version}, ${guest} guest, ${accel.accel}: ${accel.why}`);
  say(
    `${plan.length} runs: ${configurations.length} configurations, ${parts.length} kinds of run of each, ${repeat} times, in turns`,
  );
  if (options.quick) say("--quick: too few runs for figures; it shows that the bench works here, and what it tells");
  signal.throwIfAborted();
  const samples: Sample[] = [];
  const running = benchRuns({
    environment,
    plan,
    scenario,
    accel,
    vm,
    by: options.switchoverBy,
    folder,
    onStarted: (run, nth, left_ms) => {
      if (nth === 1) say(`this will take about ${roughly(left_ms)}, by a guess`);
      if (process.stderr.isTTY === true) process.stderr.write(`${progressLine(run, nth, plan.length)} …\r`);
    },
    onSample: (sample, nth, left_ms) => {
      samples.push(sample);
      say(sampleLine(sample, nth, plan.length, left_ms));
    },
  });
  // Whatever ends it early, hours of what was measured are not lost by it.
  const [ended] = await Promise.allSettled([running]);
  if (samples.length === 0) {
    say("nothing was measured: nothing is written");
    if (ended.status === "rejected") throw ended.reason;
    return;
  }
  const result: BenchResult = {
    version: BENCH_VERSION,
    started_at: started_at.toISOString(),
    finished_at: new Date().toISOString(),
    command: commandOf(options, seed),
    quick: options.quick === true,
    planned: plan.length,
    repeat,
    seed,
    qemu: environment.qemu,
    qemu_version: environment.qemu_version,
    accel: accel.accel,
    accel_why: accel.why,
    guest,
    vm: vm === "whole" ? configurationTexts(WHOLE_VM) : [],
    switchover_by: options.switchoverBy,
    cap_bytes_per_s: PURE_POSTCOPY.bandwidth_bytes_per_s,
    versions: environment.versions,
    machine,
    notes: [...(loud === undefined ? [] : [loud]), ...notesOf(samples, plan.length)],
    figures: figuresOf(configurations, samples),
    samples,
  };
  const page = await writeAll(folder, result);
  if (options.json) console.log(JSON.stringify(result));
  else console.log(textOf(result, page));
  if (ended.status === "rejected") throw ended.reason;
  process.exitCode = samples.every(({ as_expected }) => as_expected) ? 0 : 1;
}

function scenario(id: string): Scenario {
  const found = SCENARIOS.find((known) => known.id === id);
  if (found === undefined) throw new Error(`there is no scenario ${id}`);
  return found;
}

/** The bench's own report, and those of its runs; a page that cannot be written takes no figure away. */
async function writeAll(folder: string, result: BenchResult): Promise<string | undefined> {
  try {
    await writeSuite(
      join(folder, "runs"),
      result.samples.map(({ run }) => join(folder, run)),
      { started_at: result.started_at, command: result.command },
    );
    await writeReports(join(folder, "runs"));
  } catch (error) {
    say(`the reports of the runs could not be written: ${messageOf(error)}`);
  }
  try {
    return await writeBench(folder, result);
  } catch (error) {
    say(`the report could not be written: ${messageOf(error)}`);
    return undefined;
  }
}

function textOf(result: BenchResult, page: string | undefined): string {
  return [
    "",
    ...aboutLines(result),
    ...result.notes.map((note) => `*** ${note}`),
    ...tablesOf(result).map(({ title, heading, rows }) => `\n${title}\n${textTable(heading, rows)}`),
    ...(page === undefined ? [] : [`\nreport: ${page}`]),
  ].join("\n");
}

function progressLine(
  { turn, scenario, recovery, variant, memory_mib, write_rate_pages_per_s }: Planned,
  nth: number,
  of: number,
): string {
  return `${String(nth).padStart(String(of).length)}/${of} turn ${turn} ${`${scenario} ${variant ?? recovery}`.padEnd(31)} ${memory_mib} MiB ${write_rate_pages_per_s} pages/s`;
}

function sampleLine(sample: Sample, nth: number, of: number, left_ms: number): string {
  const came = sample.as_expected ? sample.verdict : `${sample.verdict}, NOT AS EXPECTED: ${sample.why.split("\n")[0]}`;
  const left = nth < of ? `; about ${roughly(left_ms)} left` : "";
  return `${progressLine(sample, nth, of)}  ${(sample.took_ms / 1000).toFixed(1)} s  ${came}${left}`;
}

/** The command that measures the same again, seed included. */
function commandOf(options: BenchOptions, seed: number): string {
  const { vm, quick, memory, writeRate, repeat, qemu, accel, switchoverBy, only } = options;
  const words = [`${FERRYMAN} bench`];
  if (vm !== "memory") words.push(`--vm ${vm}`);
  if (quick) words.push("--quick");
  if (memory !== undefined) words.push(`--memory ${memory.join(",")}`);
  if (writeRate !== undefined) words.push(`--write-rate ${writeRate.join(",")}`);
  if (repeat !== undefined) words.push(`--repeat ${repeat}`);
  if (only !== undefined) words.push(`--only ${only.join(",")}`);
  words.push(`--switchover-by ${switchoverBy}`, `--qemu ${qemu}`, `--accel ${accel}`, `--seed ${seed}`);
  return words.join(" ");
}
