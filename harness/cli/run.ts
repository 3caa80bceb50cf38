import { randomBytes, randomInt } from "node:crypto";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { Argument, Command } from "commander";
import { writeSuite } from "../../reports/suite.ts";
import { writeReports } from "../../reports/write.ts";
import { SCENARIOS } from "../../scenarios/index.ts";
import type { Configuration } from "../base/configuration.ts";
import { messageOf, UserError } from "../base/errors.ts";
import type { GuestKind, Recovery, RunRecord } from "../base/run-record.ts";
import { quoteWord } from "../base/words.ts";
import { DEFAULT_QEMU } from "../fleet/images.ts";
import type { AccelChoice } from "../qemu/accel.ts";
import { checkConfiguration } from "../run/configure.ts";
import { expectedOf } from "../run/expectation.ts";
import { checkWork, type GuestWork, WRITE_RATE_MAX } from "../run/guests/work.ts";
import { DEFAULT_PATIENCE_MS } from "../run/looking.ts";
import { accelFor, checkHugePages, checkMemory, prepareRuns, RUNS_FOLDER, say } from "../run/prepare.ts";
import { checkConfigured } from "../run/probe.ts";
import { makeProgress, runName } from "../run/progress.ts";
import type { FinishedRun, RunRequest } from "../run/request.ts";
import type { Scenario } from "../run/scenario.ts";
import { runSuite } from "../run/suite.ts";
import { repeatTable, textTable, verdictTable } from "../run/table.ts";
import { settingsFor, type TxsyncSettings } from "../run/txsync/settings.ts";
import { commandOf } from "./again.ts";
import { type Chosen, choose, type Filters } from "./choose.ts";
import { compose, saidAgain } from "./compose.ts";
import { addConfigurationOptions, type ConfigurationOptions, configurationFrom } from "./configuration.ts";
import { printExpect } from "./expect-grammar.ts";
import { printFault } from "./fault-grammar.ts";
import { interruptible } from "./interrupt.ts";
import { LATEST, markLatest } from "./latest.ts";
import { LIMITS } from "./limits.ts";
import { oneOf, qemuName, rangeOf, within } from "./options.ts";
import { failedIn } from "./rerun.ts";
import { isFileName, saveScenario } from "./scenario-file.ts";
import { stamp } from "./stamp.ts";

export interface RunOptions extends ConfigurationOptions {
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
  readonly switchoverBy?: TxsyncSettings["switchover_by"];
  readonly protect?: TxsyncSettings["protect"];
  readonly protectBefore?: boolean;
  readonly unprotected?: TxsyncSettings["unprotected"];
  readonly ahead?: number;
  readonly find?: TxsyncSettings["find"];
  /** Seconds. */
  readonly patience?: number;
  readonly keep?: boolean;
  readonly json?: boolean;
  /** Ends with the first run that is not as expected; `repeat` of 1 stands for as often as there is time. */
  readonly untilFail?: boolean;
}

/** What `run` has besides: what is run. */
export interface RunFlags extends RunOptions, Filters {
  readonly fault?: readonly string[];
  readonly expect?: string;
  readonly save?: string;
  readonly dryRun?: boolean;
  /** A folder of runs; true: the last one. */
  readonly rerunFailed?: string | true;
}

const HEARTBEAT_MS_MAX = 10_000;

export function registerRun(program: Command): void {
  declareRun(program.command("run")).action(async (names: string[], options: RunFlags) => {
    await interruptible((signal) => runCommand(names, options, signal));
    if (options.keep) await leave();
  });
}

/** The words that `run` takes, for a person's command or for one that stands in a record. */
function declareRun(command: Command): Command {
  command
    .description("run scenarios and judge what arrives; exit code 0: all as expected, 1: some not, 2: could not run")
    .addArgument(
      new Argument("[scenario...]", 'scenarios by name (see list), glob ("link-*"), file (./my.scenario.ts), or all'),
    )
    .option("--group <name>", "only scenarios of this group (see list); may be given again", collect)
    .option("--tag <name>", "only scenarios with this tag or this kind of fault; may be given again", collect)
    .option(
      "--fault <fault@when>",
      "puts a scenario together, or adds to the one that is named: see list --faults, list --steps; may be given again",
      collect,
    )
    .option(
      "--expect <what>",
      'what ought to come out, and what it may take: intact, or "intact, stillness <= 2s, detect <= 600ms"',
    )
    .option("--save <file>", "writes what was put together as a scenario file (.scenario.ts), and runs it")
    .option("--dry-run", "says what would be run, and runs nothing")
    .option("--rerun-failed [folder]", "runs again what did not come out as expected, by default in the last runs")
    .option("--until-fail", "runs again and again, --repeat times at most, until one is not as expected")
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
      "--switchover-by <who>",
      "txsync: qemu migrates by itself (default), or agents copy its memory ahead to the target and make the package",
      oneOf<TxsyncSettings["switchover_by"]>("agent", "qemu"),
    )
    .option(
      "--protect <how-long>",
      "txsync: until-handoff, or always: after it too, and anew wherever the VM runs; default until-handoff",
      oneOf<TxsyncSettings["protect"]>("until-handoff", "always"),
    )
    .option(
      "--protect-before",
      "txsync: the VM is protected where it runs, and migrates when that is on, by the agents",
    )
    .option(
      "--unprotected <what>",
      "txsync: while the escrow is not heard the VM goes on, which is said (go), or its output waits (hold); default go",
      oneOf<TxsyncSettings["unprotected"]>("go", "hold"),
    )
    .option(
      "--ahead <percent>",
      "txsync: so much of the memory goes to the escrow before switchover; default 75; by agents: 0 copies nothing ahead",
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
    );
  return addConfigurationOptions(command)
    .option("--keep", "leave the hosts standing after the run, for a look (clean --run removes them)")
    .option("--json", "one JSON object a run on standard output, and nothing else there");
}

function collect(text: string, before: readonly string[] = []): readonly string[] {
  return [...before, text];
}

/** Ends the process though its connections to the hosts that it kept are open: they would hold it as long as those stand. */
async function leave(): Promise<void> {
  for (const output of [process.stdout, process.stderr]) {
    await new Promise((resolve) => output.write("", resolve));
  }
  process.exit();
}

async function runCommand(names: readonly string[], options: RunFlags, signal: AbortSignal): Promise<void> {
  const rerun = options.rerunFailed;
  const turns =
    rerun === undefined
      ? [{ chosen: await chosenOf(names, options), options }]
      : await failedTurns(names, rerun, options);
  if (options.dryRun === true) {
    for (const turn of turns) sayPlan(turn.chosen, turn.options);
    return;
  }
  let as_expected = true;
  for (const turn of turns) {
    const records = await runScenarios(turn.chosen, turn.options, signal);
    as_expected &&= records.every((record) => record.as_expected);
  }
  process.exitCode = as_expected ? 0 : 1;
}

/** What was named, filtered, or put together. @throws UserError */
async function chosenOf(names: readonly string[], options: RunFlags): Promise<readonly Chosen[]> {
  const { fault: faults = [], expect, save, recovery } = options;
  if (faults.length === 0 && expect === undefined) {
    if (save !== undefined) throw new UserError("--save writes what is put together with --fault: there is nothing.");
    return choose(names, options, recovery, SCENARIOS);
  }
  const bases = names.length === 0 && faults.length > 0 ? [] : await choose(names, options, recovery, SCENARIOS);
  if (bases.length > 1)
    throw new UserError("--fault and --expect are for one scenario: name one, or none to begin with nothing broken.");
  const [base] = bases;
  const said = { faults, expect, recovery };
  const scenario = compose(said, base?.scenario);
  const named = [...(base === undefined ? [] : [base.named]), ...saidAgain(said)].map(quoteWord).join(" ");
  if (save === undefined) return [{ scenario, named }];
  // What is said of the QEMUs belongs to what is written; said again it changes nothing.
  const configuration = { ...scenario.configuration, ...configurationFrom(options) };
  const whole = Object.keys(configuration).length === 0 ? scenario : { ...scenario, configuration };
  const saved = await saveScenario(save, whole, `run ${named} --recovery ${recovery}`);
  say(`${save} is written: run ${quoteWord(isFileName(save) ? save : `./${save}`)} runs it.`);
  return [{ scenario: saved, named: save }];
}

interface Turn {
  readonly chosen: readonly Chosen[];
  readonly options: RunFlags;
}

/** What failed, by the commands that its records hold; those of like options go together. */
async function failedTurns(names: readonly string[], folder: string | true, now: RunFlags): Promise<readonly Turn[]> {
  if (names.length > 0) throw new UserError("--rerun-failed runs what failed: it takes no names of scenarios.");
  const turns = new Map<string, { chosen: Chosen[]; options: RunFlags }>();
  for (const words of failedIn(folder === true ? join(RUNS_FOLDER, LATEST) : folder)) {
    const command = declareRun(new Command())
      .exitOverride()
      .parse([...words], { from: "user" });
    const { seed, ...options } = command.opts<RunFlags>();
    const again = await chosenOf(command.args, options);
    const chosen = again.map((each) => ({ ...each, ...(seed === undefined ? {} : { seed }) }));
    const { fault: _, expect: __, ...rest } = options;
    const key = JSON.stringify(rest);
    const turn = turns.get(key) ?? { chosen: [], options: { ...rest, ...shared(now) } };
    turn.chosen.push(...chosen);
    turns.set(key, turn);
  }
  return [...turns.values()];
}

/** What is asked for now, whatever the runs were that failed. */
function shared({ jobs, repeat, json, keep, untilFail }: RunFlags): Pick<RunFlags, "jobs" | "repeat"> {
  return {
    jobs,
    repeat,
    ...(json === undefined ? {} : { json }),
    ...(keep === undefined ? {} : { keep }),
    ...(untilFail === undefined ? {} : { untilFail }),
  };
}

/** What would be run. */
function sayPlan(chosen: readonly Chosen[], options: RunFlags): void {
  if (options.json === true) {
    for (const { scenario } of chosen) console.log(JSON.stringify(scenario));
    return;
  }
  const { recovery, qemu } = options;
  const rows = chosen.map(({ scenario, seed }) => [
    seed === undefined ? scenario.id : `${scenario.id}, seed ${seed}`,
    recovery,
    guestOf(scenario, options),
    expectText(scenario, recovery, qemu),
    scenario.faults.map((plan, index) => printFault(plan, index)).join(" "),
  ]);
  console.log(textTable(["scenario", "recovery", "guest", "expected", "faults"], rows));
}

function expectText(scenario: Scenario, recovery: Recovery, qemu: string): string {
  const limits = (scenario.limits ?? []).filter(({ under }) => under === undefined || under === recovery);
  return printExpect({ verdict: expectedOf(scenario, recovery, qemu).verdict, limits });
}

/** Runs scenarios with progress while they go and a table at the end. */
export async function runScenarios(
  chosen: readonly Chosen[],
  options: RunOptions,
  signal: AbortSignal,
): Promise<readonly RunRecord[]> {
  const memory_bytes = options.memory * 1024 ** 2;
  const scenarios = chosen.map(({ scenario }) => scenario);
  const repeat = options.untilFail === true && options.repeat === 1 ? LIMITS.repeat.most : options.repeat;
  checkMemory(memory_bytes, Math.min(options.jobs, scenarios.length * repeat));
  if (options.ram === "hugetlbfs") checkHugePages(memory_bytes, Math.min(options.jobs, scenarios.length * repeat));
  const guests = new Set(scenarios.map((scenario) => guestOf(scenario, options)));
  const work = workOf(options);
  for (const scenario of scenarios) checkWork(guestOf(scenario, options), memory_bytes, { ...scenario.work, ...work });
  for (const scenario of scenarios) settingsFor(memory_bytes, scenario.txsync, settingsOf(options));
  const { configuration, source, target } = configured(scenarios, options);
  const pairs = chosen.flatMap((each) =>
    (options.recoveries ?? [options.recovery]).map((recovery) => ({ ...each, recovery })),
  );
  for (const { scenario, recovery } of pairs)
    checkConfiguration({ scenario, recovery, configuration, guest: guestOf(scenario, options), memory_bytes });
  const folder = join(RUNS_FOLDER, `${stamp(new Date())}-${randomBytes(2).toString("hex")}`);
  const environment = {
    ...(await prepareRuns(source, signal, { target_qemu: target, commandOf })),
    runs_folder: folder,
  };
  await markLatest(folder);
  const accels = new Map<GuestKind, AccelChoice>();
  for (const guest of guests) {
    const choice = await accelFor(environment, guest, options.accel);
    accels.set(guest, choice);
    const { qemu_version, target } = environment;
    const qemus = [qemu_version, ...(target === undefined ? [] : [target.qemu_version])].join(" to ");
    say(`QEMU ${qemus}, ${guest} guest, ${choice.accel}: ${choice.why}`);
  }
  const progress = makeProgress(process.stderr, options.json === true);
  const names = new Map<RunRequest, string>();
  const requests = pairs.flatMap(({ scenario, named, seed, recovery }) =>
    Array.from({ length: repeat }, (_, turn): RunRequest => {
      const name = `${runName({ scenario: scenario.id, recovery })}${repeat > 1 ? ` ${turn + 1}` : ""}`;
      const guest = guestOf(scenario, options);
      const { accel, why } = accels.get(guest) ?? { accel: "tcg", why: "nothing was chosen" };
      const request: RunRequest = {
        scenario,
        named,
        recovery,
        guest,
        accel,
        accel_why: why,
        seed: seed ?? options.seed ?? randomInt(2 ** 32),
        memory_bytes,
        work,
        configuration,
        ...(options.patience === undefined ? {} : { patience_ms: options.patience * 1000 }),
        keep: options.keep === true,
        txsync: settingsOf(options),
        onEvent: (event) => progress.onEvent(name, event),
      };
      names.set(request, name);
      return request;
    }),
  );
  // Of each that is repeated one is enough.
  await checkConfigured(
    environment,
    requests.filter((_, n) => n % repeat === 0),
  );
  // Until one fails: each in its turn, or the first would be run alone for ever.
  const turns = pairs.flatMap((_, pair) => Array.from({ length: repeat }, (__, turn) => ({ turn, pair })));
  const order = options.untilFail === true ? turns.toSorted((a, b) => a.turn - b.turn) : turns;
  const ordered = order.flatMap(({ turn, pair }) => requests[pair * repeat + turn] ?? []);
  let failed = false;
  const finished = await runSuite(
    environment,
    ordered,
    options.jobs,
    ({ record, folder }, request) => {
      failed ||= !record.as_expected;
      progress.onFinished(names.get(request) ?? record.id, record);
      if (options.json) console.log(JSON.stringify(jsonLine(record, folder)));
    },
    { enough: () => options.untilFail === true && failed },
  );
  progress.close();
  const page = await writeStory(folder, finished);
  signal.throwIfAborted();
  const records = finished.map(({ record }) => record);
  if (!options.json) {
    console.log(`\n${verdictTable(records)}`);
    if (repeat > 1) console.log(`\nmedian / worst of ${repeat}:\n${repeatTable(records)}`);
    if (page !== undefined) console.log(`\nreport: ${page}`);
    for (const { record, folder } of finished)
      if (!record.as_expected) console.log(`\n${record.why}\n  see ${folder}\n  again: ${record.command}`);
  }
  return records;
}

/** What is asked for, with the QEMUs of source and target: one pair for all runs of a command. */
function configured(
  scenarios: readonly Scenario[],
  options: RunOptions,
): { readonly configuration: Configuration; readonly source: string; readonly target: string } {
  const { source_qemu, target_qemu, ...configuration } = configurationFrom(options);
  const pairs = scenarios.map(({ configuration: own }) => ({
    source: source_qemu ?? own?.source_qemu ?? options.qemu,
    target: target_qemu ?? own?.target_qemu ?? options.qemu,
  }));
  const [first = { source: options.qemu, target: options.qemu }] = pairs;
  if (pairs.some(({ source, target }) => source !== first.source || target !== first.target))
    throw new UserError(
      "These scenarios need different QEMUs: run them one by one, or name --source-qemu and --target-qemu.",
    );
  const { source, target } = first;
  if (source === target) return { configuration, source, target };
  return { configuration: { ...configuration, source_qemu: source, target_qemu: target }, source, target };
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
  protectBefore,
  unprotected,
  switchoverBy,
  ahead,
  find,
}: Pick<
  RunOptions,
  "lease" | "epoch" | "durability" | "protect" | "protectBefore" | "unprotected" | "switchoverBy" | "ahead" | "find"
>): Partial<TxsyncSettings> {
  return {
    ...(lease === undefined ? {} : { lease_ms: lease, heartbeat_ms: heartbeatOf(lease) }),
    ...(epoch === undefined ? {} : { epoch_ms: epoch }),
    ...(durability === undefined ? {} : { durability }),
    ...(switchoverBy === undefined ? {} : { switchover_by: switchoverBy }),
    ...(protect === undefined ? {} : { protect }),
    ...(protectBefore === undefined ? {} : { protect_before: protectBefore }),
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
