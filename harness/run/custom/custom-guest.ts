import { basename } from "node:path";
import type { Configuration } from "../../base/configuration.ts";
import { whileMoving } from "../../base/patience.ts";
import type { Emit, HostRole } from "../../base/timeline.ts";
import type { GuestAbility } from "../../checks/evidence.ts";
import type { ProbeFindings } from "../../checks/probes.ts";
import type { StartedFleet } from "../../fleet/fleet.ts";
import type { StartedVm } from "../../fleet/vm.ts";
import { refuseGone } from "../guests/gone.ts";
import type { GuestFiles, GuestUnderTest, Workload } from "../guests/guest.ts";
import type { GuestSettings } from "../guests/integrity.ts";
import { LOOKING, type Looking } from "../looking.ts";
import type { Reach } from "../net/reach.ts";
import { ClientRunner } from "./client-runner.ts";
import type { HistoryClient } from "./history-client.ts";
import { Prober } from "./prober.ts";
import { STATE_PATH } from "./snapshot-files.ts";

/** Where its files lie on each host. */
const FOLDER = "/opt/ferryman/guests/custom";
/** Before the migration, of each probe that asks and of the client. */
const ANSWERS_TO_WARM_UP = 5;
/** Of a boot. */
const LINES_THAT_COUNT = 300;
const HOSTS: readonly HostRole[] = ["source", "target", "escrow"];

/**
 * A guest of which only that is known which the user says: what boots, and how one sees that it lives. What can be told of
 * any VM is told of it too.
 */
export class CustomGuest implements GuestUnderTest {
  readonly kind = "custom";
  readonly can: readonly GuestAbility[];
  /** A client that waits for its transaction on a busy machine is answered about once a second. */
  readonly still_after_ms = 3_000;
  readonly files: GuestFiles;
  readonly state: string | undefined;
  readonly #configuration: Configuration;
  readonly #prober: Prober;
  readonly #client: HistoryClient | undefined;
  readonly #seed: number;
  readonly #emit: Emit;
  readonly #looking: Looking;
  #runner: ClientRunner | undefined;
  #lines = 0;

  constructor({ seed, emit, configuration = {}, client, looking = LOOKING }: GuestSettings) {
    const { kernel, initrd, append, probes = [], images, cloud_init } = configuration;
    this.#configuration = configuration;
    this.state = configuration.snapshot === undefined ? undefined : STATE_PATH;
    this.#prober = new Prober(probes, emit);
    this.#client = client;
    this.#seed = seed;
    this.#emit = emit;
    this.#looking = looking;
    this.can = [
      ...(probes.length > 0 ? (["probes"] as const) : []),
      ...(client === undefined ? [] : (["client"] as const)),
      ...(images === undefined && cloud_init === undefined ? [] : (["images"] as const)),
    ];
    this.files = {
      ...(kernel === undefined ? {} : { kernel: placeOf(kernel) }),
      ...(initrd === undefined ? {} : { initrd: placeOf(initrd) }),
      ...(append === undefined ? {} : { append }),
    };
  }

  onConsole(host: HostRole, line: string): void {
    this.#emit(host, { kind: "guest.log", host, line });
    this.#lines += 1;
    this.#prober.onConsole(host, line);
  }

  /** Somebody outside reaches it, or it has no network card. */
  onNetwork(reach: Reach | undefined): void {
    this.#prober.start(reach);
    if (reach !== undefined && this.#client !== undefined)
      this.#runner = ClientRunner.start(this.#client, reach, { seed: this.#seed }, (from) => this.#prober.saw(from));
  }

  async booted(vm: StartedVm): Promise<void> {
    this.#prober.moveTo(vm);
    await whileMoving(
      {
        what: "the custom guest to boot and to answer its probes",
        ...this.#looking,
        interval_ms: 100,
        moves: async () => {
          const blocks = (await vm.host.run(`stat -L -c %b ${vm.ram_path}`, 1_000)).trim();
          // One that goes on telling something and never answers has to be given up all the same.
          return `${Math.min(LINES_THAT_COUNT, this.#lines)} lines on its console, ${blocks} blocks of memory in use`;
        },
        lastLines: () => [this.#prober.told, ...this.#clientTold(), ...vm.process.lastLines()],
      },
      async () => {
        await refuseGone(vm);
        return this.#answered(1) ? true : undefined;
      },
    );
  }

  #clientTold(): readonly string[] {
    if (this.#runner === undefined) return [];
    return [`the client: ${this.#runner.acknowledged} acknowledged; ${this.#runner.lastWhy ?? ""}`];
  }

  #answered(times: number): boolean {
    const answers = this.#prober.answers;
    return answers.every((count) => count >= times) && (this.#runner?.acknowledged ?? times) >= times;
  }

  async steps(vm: StartedVm): Promise<number | undefined> {
    return this.#prober.steps(vm.host.role);
  }

  async memory(): Promise<undefined> {
    return undefined;
  }

  async ledger(): Promise<undefined> {
    return undefined;
  }

  async disks(): Promise<undefined> {
    return undefined;
  }

  async selfCheck(): Promise<undefined> {
    return undefined;
  }

  async probes(): Promise<ProbeFindings> {
    return await this.#prober.look();
  }

  get client(): ClientRunner | undefined {
    return this.#runner;
  }

  async reboot(vm: StartedVm): Promise<void> {
    const before = this.#prober.answers.map((count) => count);
    await vm.control.executeRaw("system_reset");
    await whileMoving({ what: "the custom guest to boot again", ...this.#looking, moves: () => this.#lines }, () =>
      this.#prober.answers.every((count, n) => count > (before[n] ?? 0)) ? true : undefined,
    );
  }

  workload(): Workload {
    return {
      moveTo: (vm) => this.#prober.moveTo(vm),
      warmedUp: async () => {
        const asks = (this.#configuration.probes ?? []).map((probe) => !("console" in probe));
        const enough = (): boolean =>
          this.#prober.answers.every((count, n) => asks[n] !== true || count >= ANSWERS_TO_WARM_UP) &&
          (this.#runner?.acknowledged ?? ANSWERS_TO_WARM_UP) >= ANSWERS_TO_WARM_UP;
        const moves = (): string => `${this.#prober.answers.join(", ")} answers, ${this.#runner?.acknowledged ?? 0}`;
        const what = "some answers of the custom guest before the migration";
        await whileMoving({ what, ...this.#looking, moves }, () => (enough() ? true : undefined));
      },
      stop: async () => {
        this.#prober.rest();
      },
    };
  }

  end(): void {
    this.#prober[Symbol.dispose]();
    this.#runner?.[Symbol.dispose]();
  }

  async put(fleet: StartedFleet): Promise<void> {
    const { kernel, initrd } = this.#configuration;
    for (const file of [kernel, initrd])
      if (file !== undefined) await Promise.all(HOSTS.map((role) => fleet.host(role).copyFile(file, placeOf(file))));
  }
}

function placeOf(local: string): string {
  return `${FOLDER}/${basename(local)}`;
}
