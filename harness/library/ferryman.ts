import { randomInt } from "node:crypto";
import { resolve } from "node:path";
import { writeReports } from "../../reports/write.ts";
import { isLibvirt, type Manager } from "../base/configuration.ts";
import type { GuestKind, Recovery, RunRecord } from "../base/run-record.ts";
import type { TimelineEvent } from "../base/timeline.ts";
import type { Check } from "../checks/check.ts";
import { CHECKS } from "../checks/index.ts";
import { DEFAULT_QEMU } from "../fleet/images.ts";
import type { AccelAsked, AccelChoice } from "../qemu/accel.ts";
import { checkConfiguration, managerOf } from "../run/configure.ts";
import { checkWork, type GuestWork } from "../run/guests/work.ts";
import { accelFor, checkMemory, prepareRuns } from "../run/prepare.ts";
import type { RunEnvironment, RunRequest } from "../run/request.ts";
import { runScenario } from "../run/run.ts";
import type { Scenario } from "../run/scenario.ts";
import type { TxsyncSettings } from "../run/txsync/settings.ts";

/** What all runs of one Ferryman share. */
export interface FerrymanOptions {
  /** A version that Ferryman builds ("7.2", "10.0", "11.1"), or an image of yours with qemu-system-x86_64 in it. */
  readonly qemu?: string;
  /** Folder in which each run makes its own. Default: ./runs */
  readonly runs?: string;
  /** What runs the guest. Default: KVM where a guest runs under it, else TCG. */
  readonly accel?: AccelAsked;
  /** Memory of the guest where a run does not say. Default: 128 MiB. */
  readonly memory_mib?: number;
}

/** How one scenario is played. */
export interface PlayOptions {
  /** Whose recovery is under test. Default: txsync. */
  readonly recovery?: Recovery;
  /** What drives a stock migration. Default: qmp. With libvirt the QEMU is one that Ferryman builds. */
  readonly manager?: Manager;
  readonly guest?: GuestKind;
  readonly memory_mib?: number;
  /** Default: a new one each run; it stands in the record. */
  readonly seed?: number;
  /** What the run is judged by. Default: CHECKS. */
  readonly checks?: readonly Check[];
  readonly work?: GuestWork;
  readonly txsync?: Partial<TxsyncSettings>;
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

/** An engine with the images that runs need. Dispose of it when all runs are over: what still runs is taken down. */
export interface Ferryman extends AsyncDisposable {
  /**
   * Plays a scenario from start to verdict. What happens in the run is in what it returns, be it ever so bad.
   * @throws UserError where it cannot be played here: not enough memory, a setting that the guest cannot have
   */
  run(scenario: Scenario, options?: PlayOptions): Promise<PlayedRun>;
}

/**
 * Finds the container engine and finds, pulls or builds the images, once for all runs.
 * @throws UserError with what to do about it where this machine cannot run any of it
 */
export async function startFerryman(options: FerrymanOptions = {}): Promise<Ferryman> {
  const ending = new AbortController();
  const runs_folder = resolve(options.runs ?? "runs");
  const qemu = options.qemu ?? DEFAULT_QEMU;
  const environment = { ...(await prepareRuns(qemu, ending.signal)), runs_folder };
  let withLibvirt: Promise<RunEnvironment> | undefined;
  const environmentOf = (manager: Manager | undefined): Promise<RunEnvironment> => {
    if (!isLibvirt(manager)) return Promise.resolve(environment);
    withLibvirt ??= prepareRuns(qemu, ending.signal, { libvirt: true }).then((made) => ({ ...made, runs_folder }));
    return withLibvirt;
  };
  const accels = new Map<GuestKind, Promise<AccelChoice>>();
  const accelOf = (guest: GuestKind): Promise<AccelChoice> => {
    const known = accels.get(guest) ?? accelFor(environment, guest, options.accel ?? "auto");
    accels.set(guest, known);
    return known;
  };
  const going = new Set<Promise<unknown>>();
  return {
    async run(scenario, play = {}) {
      const guest = play.guest ?? scenario.guests[0] ?? "integrity";
      const memory_bytes = (play.memory_mib ?? options.memory_mib ?? DEFAULT_MEMORY_MIB) * MIB;
      checkMemory(memory_bytes, going.size + 1);
      checkWork(guest, memory_bytes, { ...scenario.work, ...play.work });
      const { accel, why } = await accelOf(guest);
      const {
        recovery = "txsync",
        manager,
        checks = CHECKS,
        seed = randomInt(2 ** 32),
        work,
        txsync,
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
        ...(manager === undefined ? {} : { configuration: { manager } }),
        ...(work === undefined ? {} : { work }),
        ...(txsync === undefined ? {} : { txsync }),
        ...(patience_ms === undefined ? {} : { patience_ms }),
        ...(onEvent === undefined ? {} : { onEvent }),
      };
      checkConfiguration(request);
      const run = runScenario(await environmentOf(managerOf(request)), request);
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
    },
  };
}
