import { availableParallelism } from "node:os";
import { type Configuration, isLibvirt, type Manager } from "../base/configuration.ts";
import type { GuestKind } from "../base/run-record.ts";
import { quoteWord } from "../base/words.ts";
import type { Job, QemuPair } from "../explore/job.ts";
import type { AccelAsked, AccelChoice } from "../qemu/accel.ts";
import { accelFor, prepareRuns } from "../run/prepare.ts";
import type { FinishedRun, RunEnvironment, RunRequest } from "../run/request.ts";
import { runScenario } from "../run/run.ts";
import { Turns } from "../run/turn.ts";
import { commandOf } from "./again.ts";
import { printExpect } from "./expect-grammar.ts";
import { printFault } from "./fault-grammar.ts";

/** Runs jobs of one campaign, whatever QEMUs and guests they need: each pair is prepared once. */
export class Laboratory {
  readonly #folder: string;
  readonly #signal: AbortSignal;
  readonly #turns: Turns | undefined;
  readonly #environments = new Map<string, Promise<RunEnvironment>>();
  readonly #accels = new Map<string, Promise<AccelChoice>>();

  /**
   * @param folder in which each run makes its own
   * @param at_a_time how many go on side by side: more than one for two processors carry their VMs one after the other
   */
  constructor(folder: string, signal: AbortSignal, at_a_time = 1) {
    this.#folder = folder;
    this.#signal = signal;
    this.#turns = at_a_time > Math.max(1, Math.floor(availableParallelism() / 2)) ? new Turns() : undefined;
  }

  get signal(): AbortSignal {
    return this.#signal;
  }

  environment({ source, target }: QemuPair, manager?: Manager): Promise<RunEnvironment> {
    const libvirt = isLibvirt(manager);
    const key = `${source}:${target} ${libvirt}`;
    let found = this.#environments.get(key);
    if (found === undefined) {
      found = prepareRuns(source, this.#signal, { target_qemu: target, libvirt, commandOf }).then((environment) => ({
        ...environment,
        runs_folder: this.#folder,
      }));
      this.#environments.set(key, found);
    }
    return found;
  }

  async accel(qemus: QemuPair, guest: GuestKind, asked: AccelAsked): Promise<AccelChoice> {
    const key = `${qemus.source} ${guest} ${asked}`;
    let found = this.#accels.get(key);
    if (found === undefined) {
      found = accelFor(await this.environment(qemus), guest, asked);
      this.#accels.set(key, found);
    }
    return await found;
  }

  async run(job: Job, onEvent?: RunRequest["onEvent"]): Promise<FinishedRun> {
    const environment = await this.environment(job.qemus, job.manager);
    const turns = this.#turns === undefined ? {} : { turns: this.#turns };
    return await runScenario(
      { ...environment, ...turns },
      { ...requestOf(job), ...(onEvent === undefined ? {} : { onEvent }) },
    );
  }
}

export function requestOf(job: Job): RunRequest {
  const { scenario, recovery, guest, accel, seed, memory_mib, qemus, txsync, key, manager, manager_patience_ms } = job;
  const { source, target } = qemus;
  const configuration: Configuration = {
    ...(source === target ? {} : { source_qemu: source, target_qemu: target }),
    ...(manager === undefined ? {} : { manager }),
    ...(manager_patience_ms === undefined ? {} : { manager_patience_ms }),
  };
  return {
    scenario,
    named: namedBy(job),
    recovery,
    guest,
    accel,
    accel_why: "the campaign asked for it",
    seed,
    memory_bytes: memory_mib * 1024 ** 2,
    ...(Object.keys(configuration).length === 0 ? {} : { configuration }),
    keep: false,
    ...(Object.keys(txsync).length === 0 ? {} : { txsync }),
    job: key,
  };
}

/** The words that put its scenario together again. */
export function namedBy({ scenario, recovery }: Pick<Job, "scenario" | "recovery">): string {
  const words = scenario.faults.flatMap((plan, index) => ["--fault", printFault(plan, index)]);
  const too = (scenario.allow ?? []).filter(({ under }) => under === recovery).map(({ verdict }) => verdict);
  const expect = printExpect({ verdict: scenario.expect[recovery] ?? "intact", too, limits: scenario.limits ?? [] });
  const base = scenario.faults.length === 0 ? ["no-fault"] : [];
  return [...base, ...words, "--expect", expect].map(quoteWord).join(" ");
}
