import { randomInt } from "node:crypto";
import { resolve } from "node:path";
import { writeReports } from "../../reports/write.ts";
import { type Configuration, isLibvirt, type Manager } from "../base/configuration.ts";
import { UserError } from "../base/errors.ts";
import type { Recovery, RunRecord } from "../base/run-record.ts";
import type { TimelineEvent } from "../base/timeline.ts";
import type { Check } from "../checks/check.ts";
import { CHECKS } from "../checks/index.ts";
import { DEFAULT_QEMU } from "../fleet/images.ts";
import type { AccelAsked, AccelChoice } from "../qemu/accel.ts";
import { checkConfiguration, configurationOf, managerOf } from "../run/configure.ts";
import { ensureSnapshot } from "../run/custom/snapshot.ts";
import { type Guest, guestName } from "../run/guests/index.ts";
import { checkWork, type GuestWork } from "../run/guests/work.ts";
import { accelFor, checkMemory, prepareRuns } from "../run/prepare.ts";
import { checkConfigured } from "../run/probe.ts";
import type { RunEnvironment, RunRequest } from "../run/request.ts";
import { runScenario } from "../run/run.ts";
import type { Scenario } from "../run/scenario.ts";
import { checkScenario } from "../run/scenario-schema.ts";
import { Turn } from "../run/turn.ts";
import type { TxsyncSettings } from "../run/txsync/settings.ts";
import { ferrymanSchema, playSchema, refuseBad } from "./options.ts";

/** What all runs of one Ferryman share. */
export interface FerrymanOptions {
  /** A version that Ferryman builds ("7.2", "10.0", "11.1"), or an image of yours with qemu-system-x86_64 in it. */
  readonly qemu?: string;
  /** The QEMU of target and escrow, where it is another one than the source's. */
  readonly target_qemu?: string;
  /** Folder in which each run makes its own. Default: ./runs */
  readonly runs?: string;
  /** What runs the guest. Default: KVM where a guest runs under it, else TCG. */
  readonly accel?: AccelAsked;
  /** Memory of the guest where a run does not say. Default: 128 MiB. */
  readonly memory_mib?: number;
  /**
   * Of runs that go on side by side VMs are carried one after the other: hosts start and are taken down meanwhile. For
   * machines with few processors, where agents must not be late.
   */
  readonly one_at_a_time?: boolean;
}

/** How one scenario is played. */
export interface PlayOptions {
  /** Whose recovery is under test. Default: txsync. */
  readonly recovery?: Recovery;
  /** What drives a stock migration. Default: qmp. With libvirt the QEMU is one that Ferryman builds. */
  readonly manager?: Manager;
  /** One of ours by its name, or an object of yours. Default: the scenario's first. */
  readonly guest?: Guest;
  /** Default: Ferryman's own. */
  readonly accel?: AccelAsked;
  readonly memory_mib?: number;
  /** Default: a new one each run; it stands in the record. */
  readonly seed?: number;
  /** What the run is judged by. Default: CHECKS. */
  readonly checks?: readonly Check[];
  readonly work?: GuestWork;
  readonly txsync?: Partial<TxsyncSettings>;
  /** How QEMUs and their migration are set up, over the scenario's own. QEMU is asked before anything starts. */
  readonly configuration?: Configuration;
  /** The run is given up once nothing has moved for so long. */
  readonly patience_ms?: number;
  readonly onEvent?: (event: TimelineEvent) => void;
}

/** A run that is over, and what came of it. */
export interface PlayedRun {
  readonly record: RunRecord;
  /** What is not as it has to be though it says nothing of the VM, one sentence each: then no run is as expected. */
  readonly untidy: readonly string[];
  /** The run's own folder: run.json, timeline.ndjson, evidence.json, logs. */
  readonly folder: string;
  /** Its report, to be opened in a browser. */
  readonly report: string;
}

const MIB = 1024 ** 2;
const DEFAULT_MEMORY_MIB = 128;

/**
 * An engine with the images that runs need. Dispose of it when all runs are over: what still runs is taken down. It holds
 * nothing else, so that one which a test file has by `await using`, and which is disposed of when the file was read, plays what
 * its tests ask for afterwards.
 */
export interface Ferryman extends AsyncDisposable {
  /**
   * Plays a scenario from start to verdict. What happens in the run is in what it returns, be it ever so bad.
   * @throws UserError where something of it is wrong, with the place in it, or where it cannot be played here: not enough
   * memory, a setting that the guest cannot have, or that QEMU refuses
   */
  run(scenario: Scenario, options?: PlayOptions): Promise<PlayedRun>;
}

/**
 * Finds the container engine and finds, pulls or builds the images, once for all runs.
 * @throws UserError with what to do about it where this machine cannot run any of it, or an option is wrong
 */
export async function startFerryman(options: FerrymanOptions = {}): Promise<Ferryman> {
  refuseBad(ferrymanSchema, options, "startFerryman");
  let ending = new AbortController();
  const runs_folder = resolve(options.runs ?? "runs");
  const { qemu = DEFAULT_QEMU, target_qemu = qemu } = options;
  const environment: RunEnvironment = {
    ...(await prepareRuns(qemu, ending.signal, { target_qemu })),
    runs_folder,
    ...(options.one_at_a_time === true ? { turn: new Turn() } : {}),
  };
  let withLibvirt: Promise<RunEnvironment> | undefined;
  const environmentOf = (manager: Manager | undefined): Promise<RunEnvironment> => {
    if (!isLibvirt(manager)) return Promise.resolve(environment);
    withLibvirt ??= prepareRuns(qemu, ending.signal, { target_qemu, libvirt: true }).then((made) => ({
      ...environment,
      ...made,
      runs_folder,
    }));
    return withLibvirt;
  };
  const accels = new Map<string, Promise<AccelChoice>>();
  const accelOf = (guest: Guest, asked: AccelAsked): Promise<AccelChoice> => {
    const name = `${guestName(guest)} ${asked}`;
    const known = accels.get(name) ?? accelFor(environment, guest, asked);
    accels.set(name, known);
    return known;
  };
  const going = new Set<Promise<unknown>>();
  return {
    async run(asked, play = {}) {
      const scenario = checkScenario(asked, `scenario ${String(asked?.id)}`);
      refuseBad(playSchema, play, `how ${scenario.id} is played`);
      const guest = play.guest ?? scenario.guests[0] ?? "integrity";
      const memory_bytes = (play.memory_mib ?? options.memory_mib ?? DEFAULT_MEMORY_MIB) * MIB;
      checkMemory(memory_bytes, options.one_at_a_time === true ? 1 : going.size + 1);
      checkWork(guest, memory_bytes, { ...scenario.work, ...play.work });
      const { accel, why } = await accelOf(guest, play.accel ?? options.accel ?? "auto");
      const {
        recovery = "txsync",
        manager,
        checks = CHECKS,
        seed = randomInt(2 ** 32),
        work,
        txsync,
        configuration,
        patience_ms,
        onEvent,
      } = play;
      const request: RunRequest = {
        scenario,
        recovery,
        guest,
        accel,
        accel_why: why,
        seed,
        memory_bytes,
        checks,
        keep: false,
        ...(work === undefined ? {} : { work }),
        ...(txsync === undefined ? {} : { txsync }),
        ...(configuration === undefined && manager === undefined
          ? {}
          : { configuration: { ...configuration, ...(manager === undefined ? {} : { manager }) } }),
        ...(patience_ms === undefined ? {} : { patience_ms }),
        ...(onEvent === undefined ? {} : { onEvent }),
      };
      checkConfiguration(request);
      refuseOtherQemus(configurationOf(request), { source_qemu: qemu, target_qemu });
      const own = { ...(await environmentOf(managerOf(request))), signal: ending.signal };
      if (Object.keys(configurationOf(request)).length > 0) await checkConfigured(own, [request]);
      await ensureSnapshot(own, request, () => undefined);
      const run = runScenario(own, request);
      going.add(run);
      try {
        const { record, untidy, folder } = await run;
        const { index } = await writeReports(folder);
        return { record, untidy, folder, report: index };
      } finally {
        going.delete(run);
      }
    },
    async [Symbol.asyncDispose]() {
      ending.abort(new Error("Ferryman was disposed of"));
      await Promise.allSettled(going);
      ending = new AbortController();
    },
  };
}

/** Images are found once, when Ferryman starts. @throws UserError where a run is for other QEMUs */
function refuseOtherQemus(
  asked: Configuration,
  has: Pick<Required<Configuration>, "source_qemu" | "target_qemu">,
): void {
  for (const which of ["source_qemu", "target_qemu"] as const)
    if (asked[which] !== undefined && asked[which] !== has[which])
      throw new UserError(
        `configuration.${which} is ${asked[which]}, and this Ferryman was started with ${has[which]}: start one with qemu and target_qemu as they are wanted.`,
      );
}
