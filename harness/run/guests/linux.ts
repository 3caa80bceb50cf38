import type { Emit, HostRole } from "../../base/timeline.ts";
import { waitFor } from "../../base/wait.ts";
import type { GuestFindings } from "../../checks/evidence.ts";
import type { StartedVm } from "../../fleet/vm.ts";
import { linuxCommandLine, patternBytesFor } from "../../guests/linux/command-line.ts";
import { type LinuxConsoleEvent, LinuxConsoleParser } from "../../guests/linux/console.ts";
import { LinuxControl } from "../../guests/linux/control.ts";
import type { GuestFiles, GuestUnderTest, Workload } from "./guest.ts";
import type { GuestSettings } from "./integrity.ts";
import { checkWork } from "./work.ts";

const BOOT_MS = 60_000;
const STEPS_TO_WARM_UP = 500;

/** A Debian kernel with our memory worker: interrupts, page tables, stacks. It checks itself and tells on its console. */
export class LinuxGuest implements GuestUnderTest {
  readonly kind = "linux";
  /** It tells its steps every half second. */
  readonly still_after_ms = 1_500;
  readonly files: GuestFiles;
  readonly #emit: Emit;
  readonly #parsers = new Map<HostRole, LinuxConsoleParser>();
  readonly #steps = new Map<HostRole, number>();
  readonly #trouble: string[] = [];

  constructor({ seed, memory_bytes, emit, work = {} }: GuestSettings) {
    checkWork("linux", memory_bytes, work);
    const { write_rate_pages_per_s: rate, working_set_bytes } = work;
    this.files = {
      kernel: "/opt/ferryman/guests/linux/vmlinux",
      initrd: "/opt/ferryman/guests/linux/initramfs",
      append: linuxCommandLine({
        seed,
        pattern_bytes: patternBytesFor(memory_bytes),
        ...(rate === undefined ? {} : { rate_pages_per_s: rate }),
        ...(working_set_bytes === undefined ? {} : { working_set_bytes }),
      }),
    };
    this.#emit = emit;
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
        this.#emit(host, { kind: "guest.progress", host, cpu: 0, step: event.n });
        if (event.errors > 0) this.#trouble.push(line);
      } else if (isDamage(event)) {
        this.#trouble.push(line);
      }
    }
  }

  async booted(vm: StartedVm): Promise<void> {
    await waitFor(
      {
        what: "the Linux guest to boot",
        timeout_ms: BOOT_MS,
        interval_ms: 20,
        lastLines: () => vm.process.lastLines(),
      },
      () => {
        if (vm.process.gone) throw new Error(`QEMU exited: ${vm.process.lastLines().join(" | ")}`);
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
    using control = new LinuxControl(await vm.com2());
    const { pages, bad, first_bad, errors } = await control.verify({ timeout_ms: 20_000 });
    return {
      pages_checked: pages,
      bad_count: bad,
      errors: Math.max(errors, this.#trouble.length),
      first: this.#trouble[0] ?? (first_bad === undefined ? "none" : `page ${first_bad}`),
    };
  }

  workload(): Workload {
    return {
      moveTo: () => undefined,
      warmedUp: async () => {
        const what = `${STEPS_TO_WARM_UP} steps of the Linux guest before the migration`;
        await waitFor({ what, timeout_ms: 30_000 }, () =>
          (this.#steps.get("source") ?? 0) >= STEPS_TO_WARM_UP ? true : undefined,
        );
      },
      stop: async () => undefined,
    };
  }
}

/** Whether the console tells of something that a guest which arrived whole does not have. A kernel warning is not one. */
function isDamage(event: LinuxConsoleEvent): boolean {
  if (event.kind === "trouble") return event.severity !== "warning";
  return event.kind === "bad-page" || event.kind === "bad-part" || event.kind === "fail";
}
