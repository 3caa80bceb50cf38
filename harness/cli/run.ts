import { randomBytes, randomInt } from "node:crypto";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { Argument, type Command } from "commander";
import { writeSuite } from "../../reports/suite.ts";
import { writeReports } from "../../reports/write.ts";
import { SCENARIOS } from "../../scenarios/index.ts";
import { messageOf, UserError } from "../base/errors.ts";
import type { GuestKind, Recovery, RunRecord } from "../base/run-record.ts";
import { DEFAULT_QEMU } from "../fleet/images.ts";
import type { AccelChoice } from "../qemu/accel.ts";
import { checkWork, type GuestWork, WRITE_RATE_MAX } from "../run/guests/work.ts";
import { DEFAULT_PATIENCE_MS } from "../run/looking.ts";
import { makeProgress, runName } from "../run/progress.ts";
import type { FinishedRun, RunRequest } from "../run/run.ts";
import type { Scenario } from "../run/scenario.ts";
import { runSuite } from "../run/suite.ts";
import { repeatTable, verdictTable } from "../run/table.ts";
import type { TxsyncSettings } from "../run/txsync/settings.ts";
import { interruptible } from "./interrupt.ts";
import { LIMITS } from "./limits.ts";
import { oneOf, qemuName, RUNS_FOLDER, rangeOf, within } from "./options.ts";
import { accelFor, checkMemory, prepareRuns, say } from "./prepare.ts";
import { stamp } from "./stamp.ts";

export interface RunOptions {
  readonly recovery: Recovery;
  /** More than one, side by side, instead of `recovery`. */
  readonly recoveries?: readonly Recovery[];
  readonly accel: "auto" | "kvm" | "tcg";
  readonly qemu: string;
  readonly guest?: GuestKind;
  readonly memory: number;
  readonly writeRate?: number;
  readonly workingSet?: number;
  readonly seed?: number;
  readonly repeat: number;
  readonly jobs: number;
  readonly lease?: number;
  readonly epoch?: number;
  readonly durability?: TxsyncSettings["durability"];
  readonly protect?: TxsyncSettings["protect"];
  readonly unprotected?: TxsyncSettings["unprotected"];
  readonly ahead?: number;
  readonly find?: TxsyncSettings["find"];
  /** Seconds. */
  readonly patience?: number;
  readonly keep?: boolean;
  readonly json?: boolean;
}

const HEARTBEAT_MS_MAX = 10_000;

export function registerRun(program: Command): void {
  program
    .command("run")
    .description("run scenarios and judge what arrives; exit code 0: all as expected, 1: some not, 2: could not run")
    .addArgument(new Argument("<scenario...>", "scenarios by name (see list), or all"))
    .option(
      "--recovery <kind>",
      "whose recovery is under test: txsync (ours) or stock (QEMU's own)",
      oneOf<Recovery>("stock", "txsync"),
      "txsync",
    )
    .option("--accel <kind>", "auto, kvm or tcg", oneOf("auto", "kvm", "tcg"), "auto")
    .option("--qemu <name>", "QEMU version, or an image of your own", qemuName, DEFAULT_QEMU)
    .option(
      "--guest <kind>",
      "integrity or linux; default is the scenario's own",
      oneOf<GuestKind>("integrity", "linux"),
    )
    .option("--memory <MiB>", `guest memory, ${rangeOf(LIMITS.memory_mib)}`, within(LIMITS.memory_mib), 128)
    .option(
      "--write-rate <pages/s>",
      "pages that the guest rewrites in a second of its time, 0 is as fast as it goes (integrity); default 1000, linux 2000",
      within({ least: 0, most: WRITE_RATE_MAX }),
    )
    .option(
      "--working-set <MiB>",
      "it rewrites pages in so much of its memory; default is all of it",
      within(LIMITS.working_set_mib),
    )
    .option(
      "--seed <number>",
      `seed of the guest's memory, ${rangeOf(LIMITS.seed)}; default is a new one each run`,
      within(LIMITS.seed),
    )
    .option("--repeat <times>", "how often each scenario is run", within(LIMITS.repeat), 1)
    .option(
      "--jobs <number>",
      "how many runs go on at a time; each keeps two processors busy",
      within(LIMITS.jobs),
      Math.max(1, Math.floor(availableParallelism() / 2)),
    )
    .option(
      "--lease <ms>",
      `txsync: how long nobody is heard before it counts, ${rangeOf(LIMITS.lease_ms)}; default 500`,
      within(LIMITS.lease_ms),
    )
    .option(
      "--epoch <ms>",
      `txsync: time between transactions, ${rangeOf(LIMITS.epoch_ms)}; default 100`,
      within(LIMITS.epoch_ms),
    )
    .option(
      "--durability <kind>",
      "txsync: host holds output back until the base would survive the source's host; default process",
      oneOf<TxsyncSettings["durability"]>("host", "process"),
    )
    .option(
      "--protect <how-long>",
      "txsync: until-handoff, or always: after it too, and anew wherever the VM runs; default until-handoff",
      oneOf<TxsyncSettings["protect"]>("until-handoff", "always"),
    )
    .option(
      "--unprotected <what>",
      "txsync: while the escrow is not heard the VM goes on, which is said (go), or its output waits (hold); default go",
      oneOf<TxsyncSettings["unprotected"]>("go", "hold"),
    )
    .option(
      "--ahead <percent>",
      "txsync: so much of the memory goes to the escrow before switchover; default 75",
      within(LIMITS.ahead_percent),
    )
    .option(
      "--find <way>",
      "txsync: changed pages by what the kernel notes where it can (auto), or by comparison (sure)",
      oneOf<TxsyncSettings["find"]>("auto", "sure"),
    )
    .option(
      "--patience <s>",
      `gives a run up once nothing has moved for so long, ${rangeOf(LIMITS.patience_s)}; default ${DEFAULT_PATIENCE_MS / 1000}`,
      within(LIMITS.patience_s),
    )
    .option("--keep", "leave the hosts standing after the run, for a look (clean --run removes them)")
    .option("--json", "one JSON object a run on standard output, and nothing else there")
    .action(async (names: string[], options: RunOptions) => {
      await interruptible((signal) => runCommand(names, options, signal));
      if (options.keep) await leave();
    });
}

/** Ends the process though its connections to the hosts that it kept are open: they would hold it as long as those stand. */
async function leave(): Promise<void> {
  for (const output of [process.stdout, process.stderr]) {
    await new Promise((resolve) => output.write("", resolve));
  }
  process.exit();
}

async function runCommand(names: readonly string[], options: RunOptions, signal: AbortSignal): Promise<void> {
  const scenarios = chosen(names, options.recovery);
  const records = await runScenarios(scenarios, options, signal);
  process.exitCode = records.every(({ as_expected }) => as_expected) ? 0 : 1;
}

/** Runs scenarios with progress while they go and a table at the end. */
export async function runScenarios(
  scenarios: readonly Scenario[],
  options: RunOptions,
  signal: AbortSignal,
): Promise<readonly RunRecord[]> {
  const memory_bytes = options.memory * 1024 ** 2;
  checkMemory(memory_bytes, Math.min(options.jobs, scenarios.length * options.repeat));
  const guests = new Set(scenarios.map((scenario) => guestOf(scenario, options)));
  const work = workOf(options);
  for (const scenario of scenarios) checkWork(guestOf(scenario, options), memory_bytes, { ...scenario.work, ...work });
  const folder = join(RUNS_FOLDER, `${stamp(new Date())}-${randomBytes(2).toString("hex")}`);
  const environment = { ...(await prepareRuns(options.qemu, signal)), runs_folder: folder };
  const accels = new Map<GuestKind, AccelChoice>();
  for (const guest of guests) {
    const choice = await accelFor(environment, guest, options.accel);
    accels.set(guest, choice);
    say(`QEMU ${environment.qemu_version}, ${guest} guest, ${choice.accel}: ${choice.why}`);
  }
  const progress = makeProgress(process.stderr, options.json === true);
  const names = new Map<RunRequest, string>();
  const pairs = scenarios.flatMap((scenario) =>
    (options.recoveries ?? [options.recovery]).map((recovery) => ({ scenario, recovery })),
  );
  const requests = pairs.flatMap(({ scenario, recovery }) =>
    Array.from({ length: options.repeat }, (_, turn): RunRequest => {
      const name = `${runName({ scenario: scenario.id, recovery })}${options.repeat > 1 ? ` ${turn + 1}` : ""}`;
      const guest = guestOf(scenario, options);
      const { accel, why } = accels.get(guest) ?? { accel: "tcg", why: "nothing was chosen" };
      const request: RunRequest = {
        scenario,
        recovery,
        guest,
        accel,
        accel_why: why,
        seed: options.seed ?? randomInt(2 ** 32),
        memory_bytes,
        work,
        ...(options.patience === undefined ? {} : { patience_ms: options.patience * 1000 }),
        keep: options.keep === true,
        txsync: settingsOf(options),
        onEvent: (event) => progress.onEvent(name, event),
      };
      names.set(request, name);
      return request;
    }),
  );
  const finished = await runSuite(environment, requests, options.jobs, ({ record, folder }, request) => {
    progress.onFinished(names.get(request) ?? record.id, record);
    if (options.json) console.log(JSON.stringify(jsonLine(record, folder)));
  });
  progress.close();
  const page = await writeStory(folder, finished);
  signal.throwIfAborted();
  const records = finished.map(({ record }) => record);
  if (!options.json) {
    console.log(`\n${verdictTable(records)}`);
    if (options.repeat > 1) console.log(`\nmedian / worst of ${options.repeat}:\n${repeatTable(records)}`);
    if (page !== undefined) console.log(`\nreport: ${page}`);
    for (const { record, folder } of finished)
      if (!record.as_expected) console.log(`\n${record.why}\n  see ${folder}\n  again: ${record.command}`);
  }
  return records;
}

/** Writes the report of each run and of all together; a report that cannot be written does not change a verdict. */
async function writeStory(folder: string, finished: readonly FinishedRun[]): Promise<string | undefined> {
  if (finished.length === 0) return undefined;
  try {
    await writeSuite(
      folder,
      finished.map((run) => run.folder),
    );
    return (await writeReports(folder, { stepSummary: true })).index;
  } catch (error) {
    say(`the reports could not be written: ${messageOf(error)}`);
    return undefined;
  }
}

function jsonLine(record: RunRecord, folder: string): object {
  const { scenario, recovery, accel, guest, qemu, qemu_version, seed, verdict, as_expected, why, checks, timings } =
    record;
  const { tries } = record;
  return {
    scenario,
    recovery,
    accel,
    guest,
    qemu,
    qemu_version,
    seed,
    verdict,
    asExpected: as_expected,
    why,
    checks,
    timings,
    ...(tries === undefined ? {} : { tries }),
    run: folder,
  };
}

/** What was said on the command line of the guest's own work. */
function workOf({ writeRate, workingSet }: RunOptions): GuestWork {
  return {
    ...(writeRate === undefined ? {} : { write_rate_pages_per_s: writeRate }),
    ...(workingSet === undefined ? {} : { working_set_bytes: workingSet * 1024 ** 2 }),
  };
}

/** What was said on the command line of the recovery's settings. */
export function settingsOf({
  lease,
  epoch,
  durability,
  protect,
  unprotected,
  ahead,
  find,
}: Pick<
  RunOptions,
  "lease" | "epoch" | "durability" | "protect" | "unprotected" | "ahead" | "find"
>): Partial<TxsyncSettings> {
  return {
    ...(lease === undefined ? {} : { lease_ms: lease, heartbeat_ms: heartbeatOf(lease) }),
    ...(epoch === undefined ? {} : { epoch_ms: epoch }),
    ...(durability === undefined ? {} : { durability }),
    ...(protect === undefined ? {} : { protect }),
    ...(unprotected === undefined ? {} : { unprotected }),
    ...(ahead === undefined ? {} : { base_ahead: ahead / 100 }),
    ...(find === undefined ? {} : { find }),
  };
}

/** Several beats in a lease; an agent takes no longer ones than HEARTBEAT_MS_MAX (config.ts). */
function heartbeatOf(lease_ms: number): number {
  return Math.min(HEARTBEAT_MS_MAX, Math.max(10, Math.round(lease_ms / 5)));
}

function guestOf(scenario: Scenario, { guest }: RunOptions): GuestKind {
  const [first = "integrity"] = scenario.guests;
  if (guest === undefined) return first;
  if (!scenario.guests.includes(guest)) {
    throw new UserError(
      `The scenario ${scenario.id} is not for the guest "${guest}", only for: ${scenario.guests.join(", ")}.`,
    );
  }
  return guest;
}

function chosen(names: readonly string[], recovery: Recovery): readonly Scenario[] {
  return names.flatMap((name) => {
    // Of all, those that can happen: without agents none can be killed.
    if (name === "all") return SCENARIOS.filter(({ expect }) => expect[recovery] !== undefined);
    const scenario = SCENARIOS.find(({ id }) => id === name);
    if (scenario === undefined)
      throw new UserError(`There is no scenario "${name}". There are: ${SCENARIOS.map(({ id }) => id).join(", ")}.`);
    if (scenario.expect[recovery] === undefined)
      throw new UserError(`The scenario ${name} breaks what only txsync has: run it with --recovery txsync.`);
    return scenario;
  });
}
