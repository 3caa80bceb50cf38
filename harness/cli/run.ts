import { randomBytes, randomInt } from "node:crypto";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { Argument, Command, InvalidArgumentError } from "commander";
import { writeSuite } from "../../reports/suite.ts";
import { writeReports } from "../../reports/write.ts";
import { EVERY_SCENARIO } from "../../scenarios/index.ts";
import { type Configuration, isLibvirt, type Manager } from "../base/configuration.ts";
import { messageOf, UserError } from "../base/errors.ts";
import type { Recovery, RunRecord } from "../base/run-record.ts";
import { quoteWord } from "../base/words.ts";
import { DEFAULT_QEMU, QEMU_NAMES } from "../fleet/images.ts";
import type { AccelChoice } from "../qemu/accel.ts";
import { checkConfiguration, configurationOf, managerOf } from "../run/configure.ts";
import { ensureSnapshot } from "../run/custom/snapshot.ts";
import { needsImageTools } from "../run/disks.ts";
import { expectedOf, notFor } from "../run/expectation.ts";
import { type Guest, guestName } from "../run/guests/index.ts";
import { checkWork, type GuestWork, WRITE_RATE_MAX } from "../run/guests/work.ts";
import { DEFAULT_PATIENCE_MS } from "../run/looking.ts";
import { accelFor, checkHugePages, checkMemory, prepareRuns, RUNS_FOLDER, say } from "../run/prepare.ts";
import { checkConfigured } from "../run/probe.ts";
import { makeProgress, runName } from "../run/progress.ts";
import type { FinishedRun, RunEnvironment, RunRequest } from "../run/request.ts";
import type { Scenario } from "../run/scenario.ts";
import { runSuite } from "../run/suite.ts";
import { repeatTable, textTable, verdictTable } from "../run/table.ts";
import { Turns } from "../run/turn.ts";
import { settingsFor, type TxsyncSettings } from "../run/txsync/settings.ts";
import { commandOf } from "./again.ts";
import { addCampaignOptions } from "./campaign-options.ts";
import { type Chosen, choose, type Filters } from "./choose.ts";
import { COMPOSED_ID, compose, saidAgain } from "./compose.ts";
import { addConfigurationOptions, type ConfigurationOptions, configurationFrom } from "./configuration.ts";
import { printExpect } from "./expect-grammar.ts";
import { printFault } from "./fault-grammar.ts";
import { interruptible } from "./interrupt.ts";
import { LATEST, markLatest } from "./latest.ts";
import { LIMITS } from "./limits.ts";
import { addMatrixOptions, type MatrixOptions, runMatrix } from "./matrix.ts";
import { oneOf, qemuName, rangeOf, within } from "./options.ts";
import { failedIn } from "./rerun.ts";
import { isFileName, saveScenario } from "./scenario-file.ts";
import { stamp } from "./stamp.ts";

/** Whose recovery is under test: one, or both side by side. */
export type RecoveryAsked = Recovery | "both";

/** The QEMUs of source and target. */
interface QemuPair {
  readonly source: string;
  readonly target: string;
}

export interface RunOptions extends ConfigurationOptions {
  readonly recovery: RecoveryAsked;
  /** Several, each a run of its own; instead of `qemu`. */
  readonly pairs?: readonly QemuPair[];
  readonly accel: "auto" | "kvm" | "tcg";
  readonly qemu: string;
  /** By its name. */
  readonly guest?: string;
  readonly memory: number;
  readonly writeRate?: number;
  readonly workingSet?: number;
  readonly chatter?: number;
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
  /** KiB. */
  readonly heldOutput?: number;
  readonly ahead?: number;
  readonly find?: TxsyncSettings["find"];
  /** Seconds. */
  readonly patience?: number;
  readonly keep?: boolean;
  readonly json?: boolean;
  /** Ends with the first run that is not as expected; `repeat` of 1 stands for as often as there is time. */
  readonly untilFail?: boolean;
  /** Of runs that are set up side by side VMs are carried one after the other. */
  readonly oneAtATime?: boolean;
}

/** What `run` has besides: what is run. */
export interface RunFlags extends RunOptions, Filters, MatrixOptions {
  readonly fault?: readonly string[];
  readonly expect?: string;
  readonly save?: string;
  readonly dryRun?: boolean;
  /** A folder of runs; true: the last one. */
  readonly rerunFailed?: string | true;
}

const HEARTBEAT_MS_MAX = 10_000;
const WRITE_RATES = { least: 0, most: WRITE_RATE_MAX };

export function registerRun(program: Command): void {
  declareRun(program.command("run")).action(async (names: string[], options: RunFlags) => {
    await interruptible((signal) => runCommand(names, options, signal));
    if (options.keep) await leave();
  });
}

/** The words that `run` takes, for a person's command or for one that stands in a record. */
export function declareRun(command: Command): Command {
  command
    .description(
      "run scenarios and judge what arrives; exit code 0: all as expected, 1: some not, 2: could not run, 130: ended by Ctrl-C or SIGTERM",
    )
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
      "whose recovery is under test: txsync (ours) or stock (QEMU's own), or both side by side",
      oneOf<RecoveryAsked>("stock", "txsync", "both"),
      "txsync",
    )
    .option("--accel <kind>", "auto, kvm or tcg", oneOf("auto", "kvm", "tcg"), "auto")
    .option("--qemu <name>", "QEMU version, or an image of your own", qemuName, DEFAULT_QEMU)
    .option(
      "--pairs <list>",
      "QEMUs side by side, instead of --qemu: 7.2,10.0 (the same on both sides), 7.2:10.0 (source and target), commas between, or all (every two of ours)",
      qemuPairs,
    )
    .option(
      "--guest <kind>",
      "integrity, linux, custom (a VM of yours: --disk, --kernel, --probe), or one that the scenario brings; default is the scenario's first",
    )
    .option("--memory <MiB>", `guest memory, ${rangeOf(LIMITS.memory_mib)}`, within(LIMITS.memory_mib), 128)
    .option(
      "--write-rate <pages/s>",
      `pages that the guest rewrites in a second of its time, ${rangeOf(WRITE_RATES)}, 0 is as fast as it goes (integrity); default 1000`,
      within(WRITE_RATES),
    )
    .option(
      "--working-set <MiB>",
      "it rewrites pages in so much of its memory; default is all of it",
      within(LIMITS.working_set_mib),
    )
    .option(
      "--chatter <lines/s>",
      `it says so many lines of about 100 bytes on its console in a second (integrity guest), ${rangeOf(LIMITS.chatter_lines_per_s)}; default none`,
      within(LIMITS.chatter_lines_per_s),
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
      "txsync: agents make the package, and copy memory ahead to the target where no fault strikes later than precopy (default), or qemu migrates by itself",
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
      "--held-output <KiB>",
      "txsync: with so much output waiting for its commit the VM stands still; default 32768",
      within(LIMITS.held_output_kib),
    )
    .option(
      "--ahead <percent>",
      "txsync: so much of the memory goes to the escrow before switchover; default 75; 0 copies nothing ahead, to the target neither",
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
  return addMatrixOptions(addCampaignOptions(addConfigurationOptions(command)))
    .option("--keep", "leave the hosts standing after the run, for a look (clean --run removes them)")
    .option("--json", "one JSON object a run on standard output, and nothing else there");
}

export function recoveriesOf(asked: RecoveryAsked): readonly Recovery[] {
  return asked === "both" ? ["stock", "txsync"] : [asked];
}

/** For commander. */
export function qemuPairs(text: string): readonly QemuPair[] {
  if (text === "all") return QEMU_NAMES.flatMap((source) => QEMU_NAMES.map((target) => ({ source, target })));
  return text.split(",").map((part) => {
    const [source, target, ...more] = part.split(":").length === 2 ? part.split(":") : [part, part];
    if (source === undefined || target === undefined || more.length > 0 || source === "" || target === "")
      throw new InvalidArgumentError("It is 7.2:10.0,10.0, or all.");
    return { source: qemuName(source), target: qemuName(target) };
  });
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
  refuseUnderStock(options);
  if (options.matrix === true) {
    if (names.length > 0) throw new UserError("--matrix has its own scenarios: it takes no names.");
    await runMatrix(options, signal);
    return;
  }
  refuseWithoutMatrix(options);
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

/** What is set of agents, and what it is called on the command line. */
const OF_AGENTS = [
  "lease",
  "epoch",
  "durability",
  "switchoverBy",
  "protect",
  "protectBefore",
  "unprotected",
  "heldOutput",
  "ahead",
  "find",
] as const satisfies readonly (keyof RunOptions)[];

/** Stock QEMU has no agents: what is set of them would be left out in silence. Of records that have it it is: they say what ran. */
function refuseUnderStock(options: RunFlags): void {
  if (options.recovery !== "stock") return;
  const found = OF_AGENTS.find((name) => options[name] !== undefined);
  if (found === undefined) return;
  throw new UserError(`${flagOf(found)} is for --recovery txsync, or both: stock QEMU has no agents.`);
}

function flagOf(name: string): string {
  return `--${name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

function refuseWithoutMatrix(options: RunFlags): void {
  const only = ["matrixSlice", "steps", "faults", "guests", "accels", "resume", "shard", "folder"] as const;
  const found = only.find((name) => options[name] !== undefined);
  if (found === undefined) return;
  throw new UserError(`${flagOf(found)} is for run --matrix (or explore).`);
}

/** What was named, filtered, or put together. @throws UserError */
export async function chosenOf(names: readonly string[], options: RunFlags): Promise<readonly Chosen[]> {
  const { fault: faults = [], expect, save, recovery } = options;
  const recoveries = recoveriesOf(recovery);
  if (faults.length === 0 && expect === undefined) {
    if (save !== undefined) throw new UserError("--save writes what is put together with --fault: there is nothing.");
    return choose(names, options, recoveries, EVERY_SCENARIO);
  }
  const bases = names.length === 0 && faults.length > 0 ? [] : await choose(names, options, recoveries, EVERY_SCENARIO);
  if (bases.length > 1)
    throw new UserError("--fault and --expect are for one scenario: name one, or none to begin with nothing broken.");
  const [base] = bases;
  const said = { faults, expect, recoveries };
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

/** What would be run. @throws UserError for what a run refuses before anything is started */
function sayPlan(chosen: readonly Chosen[], options: RunFlags): void {
  const { cases } = checkAsked(chosen, options);
  if (options.json === true) {
    for (const { scenario } of chosen) console.log(JSON.stringify(scenario));
    return;
  }
  const rows = cases.map(({ scenario, seed, recovery, manager, pair }) => [
    seed === undefined ? scenario.id : `${scenario.id}, seed ${seed}`,
    recovery,
    manager ?? "-",
    pair.source === pair.target ? pair.source : `${pair.source} to ${pair.target}`,
    guestName(guestOf(scenario, options)),
    expectText(scenario, recovery, manager, pair),
    scenario.faults.map((plan, index) => printFault(plan, index)).join(" "),
  ]);
  console.log(textTable(["scenario", "recovery", "manager", "QEMU", "guest", "expected", "faults"], rows));
}

function expectText(
  scenario: Scenario,
  recovery: Recovery,
  manager: Manager | undefined,
  { source, target }: QemuPair,
): string {
  const limits = (scenario.limits ?? []).filter(({ under }) => under === undefined || under === recovery);
  const { verdict } = expectedOf(scenario, {
    recovery,
    qemu_version: source,
    target_version: target,
    ...(manager === undefined ? {} : { manager }),
  });
  return printExpect({ verdict, limits });
}

/** One run that was asked for, but for how often. */
interface Case extends Chosen {
  readonly recovery: Recovery;
  readonly manager: Manager | undefined;
  readonly pair: QemuPair;
  readonly configuration: Configuration;
}

/**
 * What was asked for, each scenario under each recovery that it can happen under, with each manager where there is a
 * choice, and with each pair of QEMUs.
 * @throws UserError where the options contradict each other
 */
function casesOf(chosen: readonly Chosen[], options: RunOptions): readonly Case[] {
  const asked = allCasesOf(chosen, options);
  const able = asked.filter(({ scenario, pair }) => notFor(scenario, pair.source) === undefined);
  const left_out = asked.filter((each) => !able.includes(each));
  const said = new Set(
    left_out.map(
      ({ scenario, pair }) => `${scenario.id} is not for QEMU ${pair.source}: ${notFor(scenario, pair.source)}.`,
    ),
  );
  if (able.length === 0) throw new UserError([...said].join(" "));
  for (const text of said) say(text);
  return able;
}

function allCasesOf(chosen: readonly Chosen[], options: RunOptions): readonly Case[] {
  const { pairs, sourceQemu, targetQemu, manager: managers } = options;
  if (pairs !== undefined && (sourceQemu !== undefined || targetQemu !== undefined))
    throw new UserError("--pairs names both QEMUs: leave --source-qemu and --target-qemu out.");
  const recoveries = recoveriesOf(options.recovery);
  if (managers !== undefined && !recoveries.includes("stock"))
    throw new UserError("A manager drives a stock migration: --manager goes with --recovery stock, or both.");
  const { source_qemu, target_qemu, manager: _one, manager_patience_ms, ...rest } = configurationFrom(options);
  return (pairs ?? [undefined]).flatMap((asked) =>
    chosen.flatMap((each) =>
      recoveries
        .filter((recovery) => recoveries.length === 1 || each.scenario.expect[recovery] !== undefined)
        .flatMap((recovery) => {
          const own = each.scenario.configuration;
          const pair = asked ?? {
            source: source_qemu ?? own?.source_qemu ?? options.qemu,
            target: target_qemu ?? own?.target_qemu ?? options.qemu,
          };
          const two = pair.source === pair.target ? {} : { source_qemu: pair.source, target_qemu: pair.target };
          const under: readonly (Manager | undefined)[] =
            recovery === "stock" ? (managers ?? [undefined]) : [undefined];
          return under.map((manager): Case => {
            const patience = recovery === "txsync" || manager_patience_ms === undefined ? {} : { manager_patience_ms };
            const configuration = { ...rest, ...two, ...patience, ...(manager === undefined ? {} : { manager }) };
            const settled = managerOf({ scenario: each.scenario, recovery, configuration });
            return { ...each, recovery, pair, configuration, manager: settled };
          });
        }),
    ),
  );
}

interface Asked {
  readonly cases: readonly Case[];
  readonly repeat: number;
}

/**
 * What was asked for, and all that can be said of it before anything is started.
 * @throws UserError for the first thing that cannot be had like this
 */
function checkAsked(chosen: readonly Chosen[], options: RunOptions): Asked {
  const memory_bytes = options.memory * 1024 ** 2;
  const repeat = options.untilFail === true && options.repeat === 1 ? LIMITS.repeat.most : options.repeat;
  const at_a_time = Math.min(options.jobs, chosen.length * repeat);
  checkMemory(memory_bytes, at_a_time);
  if (options.ram === "hugetlbfs") checkHugePages(memory_bytes, at_a_time);
  for (const { scenario } of chosen) {
    checkWork(guestOf(scenario, options), memory_bytes, { ...scenario.work, ...workOf(options) });
    settingsFor(memory_bytes, scenario.txsync, settingsOf(options));
  }
  const cases = casesOf(chosen, options);
  for (const { scenario, recovery, configuration } of cases)
    checkConfiguration({ ...{ scenario, recovery, configuration, memory_bytes }, guest: guestOf(scenario, options) });
  return { cases, repeat };
}

/** Runs scenarios with progress while they go and a table at the end. */
export async function runScenarios(
  chosen: readonly Chosen[],
  options: RunOptions,
  signal: AbortSignal,
): Promise<readonly RunRecord[]> {
  const memory_bytes = options.memory * 1024 ** 2;
  const scenarios = chosen.map(({ scenario }) => scenario);
  const { cases, repeat } = checkAsked(chosen, options);
  const guests = new Set(scenarios.map((scenario) => guestOf(scenario, options)));
  const work = workOf(options);
  const folder = join(RUNS_FOLDER, `${stamp(new Date())}-${randomBytes(2).toString("hex")}`);
  const storage = cases.some((each) => configurationOf(each).disks !== undefined);
  const images = cases.some((each) => needsImageTools(configurationOf(each)));
  const environments = new Map<string, RunEnvironment>();
  const one_at_a_time = options.oneAtATime === true ? { turns: new Turns() } : {};
  for (const each of cases) {
    const { pair, manager } = each;
    const key = hostsOf(each);
    if (environments.has(key)) continue;
    const how = { target_qemu: pair.target, libvirt: isLibvirt(manager), storage, images, commandOf };
    environments.set(key, { ...(await prepareRuns(pair.source, signal, how)), runs_folder: folder, ...one_at_a_time });
  }
  const [environment] = environments.values();
  if (environment === undefined) throw new UserError("Nothing of this can be run.");
  await markLatest(folder);
  const accels = new Map<Guest, AccelChoice>();
  for (const guest of guests) {
    const choice = await accelFor(environment, guest, options.accel);
    accels.set(guest, choice);
    const qemus = [...environments.values()].map(({ qemu_version, target }) =>
      [qemu_version, ...(target === undefined ? [] : [target.qemu_version])].join(" to "),
    );
    say(`QEMU ${[...new Set(qemus)].join("; ")}, ${guestName(guest)} guest, ${choice.accel}: ${choice.why}`);
  }
  const progress = makeProgress(process.stderr, options.json === true);
  const names = new Map<RunRequest, string>();
  const environmentOf = new Map<RunRequest, RunEnvironment>();
  const several = new Set(cases.map(({ pair }) => `${pair.source} ${pair.target}`)).size > 1;
  const requests = cases.flatMap((each) =>
    Array.from({ length: repeat }, (_, turn): RunRequest => {
      const { scenario, named, seed, recovery, manager, pair, configuration } = each;
      const qemus = several ? ` ${pair.source === pair.target ? pair.source : `${pair.source} to ${pair.target}`}` : "";
      const nth = repeat > 1 ? ` ${turn + 1}` : "";
      const name = `${runName({ scenario: scenario.id, recovery, manager })}${qemus}${nth}`;
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
      environmentOf.set(request, environments.get(hostsOf(each)) ?? environment);
      return request;
    }),
  );
  // Of each that is repeated one is enough.
  const firsts = requests.filter((_, n) => n % repeat === 0);
  for (const [hosts, asked] of Map.groupBy(firsts, (request) => environmentOf.get(request) ?? environment))
    await checkConfigured(hosts, asked);
  for (const request of firsts) await ensureSnapshot(environmentOf.get(request) ?? environment, request, say);
  // Until one fails: each in its turn, or the first would be run alone for ever.
  const turns = cases.flatMap((_, one) => Array.from({ length: repeat }, (__, turn) => ({ turn, one })));
  const order = options.untilFail === true ? turns.toSorted((a, b) => a.turn - b.turn) : turns;
  const ordered = order.flatMap(({ turn, one }) => requests[one * repeat + turn] ?? []);
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
    {
      environmentOf: (request) => environmentOf.get(request) ?? environment,
      enough: () => options.untilFail === true && failed,
    },
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

/** What tells the hosts of one run from those of another: which images they are. */
function hostsOf({ pair, manager }: Pick<Case, "pair" | "manager">): string {
  return `${pair.source} ${pair.target} ${isLibvirt(manager)}`;
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

export function jsonLine(record: RunRecord, folder: string): object {
  const { scenario, recovery, accel, guest, qemu, qemu_version, seed, verdict, as_expected, why, checks, timings } =
    record;
  const { tries, manager } = record;
  return {
    scenario,
    recovery,
    ...(manager === undefined ? {} : { manager }),
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
function workOf({ writeRate, workingSet, chatter }: RunOptions): GuestWork {
  return {
    ...(writeRate === undefined ? {} : { write_rate_pages_per_s: writeRate }),
    ...(workingSet === undefined ? {} : { working_set_bytes: workingSet * 1024 ** 2 }),
    ...(chatter === undefined ? {} : { chatter_lines_per_s: chatter }),
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
  heldOutput,
  switchoverBy,
  ahead,
  find,
}: Pick<
  RunOptions,
  | "lease"
  | "epoch"
  | "durability"
  | "protect"
  | "protectBefore"
  | "unprotected"
  | "heldOutput"
  | "switchoverBy"
  | "ahead"
  | "find"
>): Partial<TxsyncSettings> {
  return {
    ...(lease === undefined ? {} : { lease_ms: lease, heartbeat_ms: heartbeatOf(lease) }),
    ...(epoch === undefined ? {} : { epoch_ms: epoch }),
    ...(durability === undefined ? {} : { durability }),
    ...(heldOutput === undefined ? {} : { output_held_bytes: heldOutput * 1024 }),
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

function guestOf(scenario: Scenario, { guest }: RunOptions): Guest {
  const [first = "integrity"] = scenario.guests;
  if (guest === undefined) return first;
  // Of one of the user's no scenario knows whether it is for it.
  if (guest === "custom") return guest;
  const found = scenario.guests.find((one) => guestName(one) === guest);
  if (found === undefined) {
    const names = scenario.guests.map((one) => `--guest ${guestName(one)}`).join(", ");
    const what = scenario.id === COMPOSED_ID ? "What is put together with --fault" : `The scenario ${scenario.id}`;
    throw new UserError(
      `${what} is not for the guest "${guest}": it takes ${names}, or --guest custom (a VM of yours).`,
    );
  }
  return found;
}
