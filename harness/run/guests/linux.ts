import { whileMoving } from "../../base/patience.ts";
import type { Emit, HostRole } from "../../base/timeline.ts";
import type { GuestAbility } from "../../checks/evidence.ts";
import type { GuestFindings } from "../../checks/guest-self-check.ts";
import type { DisksTold } from "../../checks/view.ts";
import type { StartedVm } from "../../fleet/vm.ts";
import { linuxCommandLine, patternBytesFor } from "../../guests/linux/command-line.ts";
import { type LinuxConsoleEvent, LinuxConsoleParser } from "../../guests/linux/console.ts";
import { LinuxControl } from "../../guests/linux/control.ts";
import { linuxFiles } from "../../guests/linux/files.ts";
import { LOOKING, type Looking } from "../looking.ts";
import { refuseGone } from "./gone.ts";
import type { GuestFiles, GuestUnderTest, Workload } from "./guest.ts";
import type { GuestSettings } from "./integrity.ts";
import { checkWork } from "./work.ts";

/** The guest looks through all its memory before it answers; 3 ms for 1000 pages here, a busy machine may take longer. */
const VERIFY_MS = { at_least: 20_000, per_gib: 15_000 };
const STEPS_TO_WARM_UP = 500;
/** For its workers to finish a record each and to unmount; their disks may be slow. */
const DISKS_MS = 30_000;
/** At least: one that uses small pages and one that uses huge ones (fixtures/guests/linux/src/memory.c). */
const WORKERS_MIN = 2;
const WORKERS_MAX = 8;
/**
 * As much as the bare-metal guest: of a guest that rewrites more while its memory is copied ahead less of the copy holds
 * at switchover, and the source's host is needed for longer.
 */
const DEFAULT_RATE = 1_000;

/** A Debian kernel with our memory worker: interrupts, page tables, stacks. It checks itself and tells on its console. */
export class LinuxGuest implements GuestUnderTest {
  readonly kind = "linux";
  readonly can: readonly GuestAbility[];
  /** It tells its steps every half second. */
  readonly still_after_ms = 1_500;
  readonly files: GuestFiles;
  readonly #emit: Emit;
  readonly #parsers = new Map<HostRole, LinuxConsoleParser>();
  readonly #steps = new Map<HostRole, number>();
  readonly #trouble: string[] = [];

  readonly #looking: Looking;
  readonly #verify_ms: number;

  constructor(settings: GuestSettings) {
    const { seed, memory_bytes, emit, work = {}, vcpus = 1, net, looking = LOOKING } = settings;
    const network = net !== undefined;
    const { disks = [], disk_bus = "blk" } = settings;
    this.can = [
      "self-check",
      ...(network ? (["network"] as const) : []),
      ...(disks.length > 0 ? (["disks"] as const) : []),
    ];
    checkWork("linux", memory_bytes, work);
    const { write_rate_pages_per_s: rate = DEFAULT_RATE, working_set_bytes, watchdogs = false, disk_pace_ms } = work;
    this.files = {
      ...linuxFiles(net),
      append: linuxCommandLine({
        seed,
        pattern_bytes: patternBytesFor(memory_bytes),
        workers: Math.min(WORKERS_MAX, Math.max(WORKERS_MIN, vcpus)),
        rate_pages_per_s: rate,
        network,
        watchdogs,
        ...(disk_pace_ms === undefined ? {} : { disk_pace_ms }),
        ...(working_set_bytes === undefined ? {} : { working_set_bytes }),
        disks,
        disk_bus,
      }),
    };
    this.#emit = emit;
    this.#looking = looking;
    this.#verify_ms = VERIFY_MS.at_least + VERIFY_MS.per_gib * Math.ceil(memory_bytes / 1024 ** 3);
  }

  onConsole(host: HostRole, line: string): void {
    this.#emit(host, { kind: "guest.log", host, line });
    let parser = this.#parsers.get(host);
    if (!parser) {
      parser = new LinuxConsoleParser();
      this.#parsers.set(host, parser);
    }
    for (const event of parser.push(Buffer.from(`${line}\n`))) {
      if (event.kind === "step") {
        this.#steps.set(host, event.n);
        const { n: step, uptime_ms: ran_ms, wall_ms } = event;
        const wall = wall_ms === undefined ? {} : { wall_ms };
        this.#emit(host, { kind: "guest.progress", host, cpu: 0, step, outside: true, ran_ms, ...wall });
        if (event.errors > 0) this.#trouble.push(line);
      } else if (isDamage(event)) {
        this.#trouble.push(line);
      }
    }
  }

  async booted(vm: StartedVm): Promise<void> {
    const troubles = this.#trouble.length;
    await whileMoving(
      {
        what: "the Linux guest to boot",
        ...this.#looking,
        interval_ms: 100,
        // It fills its memory without a word.
        moves: async () =>
          `${(await vm.host.run(`stat -L -c %b ${vm.ram_path}`, 1_000)).trim()} blocks of memory in use`,
        lastLines: () => vm.process.lastLines(),
      },
      async () => {
        await refuseGone(vm);
        const trouble = this.#trouble[troubles];
        if (trouble !== undefined) throw new Error(`the Linux guest broke as it booted: ${trouble}`);
        return this.#steps.has(vm.host.role) ? true : undefined;
      },
    );
  }

  async steps(vm: StartedVm): Promise<number | undefined> {
    return this.#steps.get(vm.host.role);
  }

  async memory(): Promise<undefined> {
    return undefined;
  }

  async ledger(): Promise<undefined> {
    return undefined;
  }

  async reboot(vm: StartedVm): Promise<void> {
    this.#steps.delete(vm.host.role);
    await vm.control.executeRaw("system_reset");
    await this.booted(vm);
  }

  async selfCheck(vm: StartedVm): Promise<GuestFindings> {
    const { pages, bad, first_bad, errors } = await onControlLine(vm, (control) =>
      control.verify({ timeout_ms: this.#verify_ms }),
    );
    return {
      pages_checked: pages,
      bad_count: bad,
      errors: Math.max(errors, this.#trouble.length),
      first: this.#trouble[0] ?? (first_bad === undefined ? "none" : `page ${first_bad}`),
    };
  }

  async disks(vm: StartedVm): Promise<DisksTold> {
    return await onControlLine(vm, (control) => control.disks({ timeout_ms: DISKS_MS }));
  }

  workload(): Workload {
    return {
      moveTo: () => undefined,
      warmedUp: async () => {
        const what = `${STEPS_TO_WARM_UP} steps of the Linux guest before the migration`;
        const steps = (): number => this.#steps.get("source") ?? 0;
        await whileMoving({ what, ...this.#looking, moves: () => `step ${steps()}` }, () =>
          steps() >= STEPS_TO_WARM_UP ? true : undefined,
        );
      },
      stop: async () => undefined,
    };
  }
}

/** The line takes the next one who comes when the one before has hung up. */
async function onControlLine<T>(vm: StartedVm, what: (control: LinuxControl) => Promise<T>): Promise<T> {
  const line = await vm.com2();
  try {
    using control = new LinuxControl(line);
    return await what(control);
  } finally {
    line.destroy();
  }
}

/** Whether the console tells of something that a guest which arrived whole does not have. A kernel warning is not one. */
function isDamage(event: LinuxConsoleEvent): boolean {
  if (event.kind === "trouble") return event.severity !== "warning";
  return event.kind === "bad-page" || event.kind === "bad-part" || event.kind === "fail";
}
