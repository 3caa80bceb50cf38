import type { HostProcess } from "../fleet/process.ts";
import type { StartedVm } from "../fleet/vm.ts";
import type { GuestClock } from "./guests/guest.ts";

/** In every host (fixtures/native/peek/peek.c). */
const PEEK = "/opt/ferryman/bin/peek";
const CLOSE_MS = 1_000;
const LINE = /^(\d+) (=|-|[0-9a-f]+)$/;

export type Seen = ReturnType<GuestClock["read"]>;

/** Turns the lines of peek into what was seen, and when, ms by the host's clock. */
export function reading(clock: GuestClock, onSeen: (at_ms: number, seen: Seen) => void): (line: string) => void {
  let last: Seen;
  return (line) => {
    const [, at_us, what] = LINE.exec(line) ?? [];
    if (at_us === undefined || what === undefined) return;
    if (what === "-") last = undefined;
    else if (what !== "=") last = clock.read(Buffer.from(what, "hex"));
    onSeen(Number(at_us) / 1000, last);
  };
}

/** A process on a host that looks at the memory of its VM, and says when it did: it is not late when the harness is. */
export class Eye {
  readonly #process: HostProcess;
  readonly #vm: StartedVm;

  private constructor(process: HostProcess, vm: StartedVm) {
    this.#process = process;
    this.#vm = vm;
  }

  static async open(
    vm: StartedVm,
    clock: GuestClock,
    every_ms: number,
    onSeen: (at_ms: number, seen: Seen) => void,
  ): Promise<Eye> {
    const { offset_bytes, bytes } = clock;
    const process = await vm.host.spawn([PEEK, vm.ram_path, `${offset_bytes}`, `${bytes}`, `${every_ms}`]);
    const read = reading(clock, onSeen);
    process.onLine((line, output) => {
      if (output === "stdout") read(line);
    });
    return new Eye(process, vm);
  }

  /** Another QEMU of the host may have its memory in the same place. */
  looksAt({ host, ram_path }: StartedVm): boolean {
    return !this.#process.gone && host === this.#vm.host && ram_path === this.#vm.ram_path;
  }

  async close(): Promise<void> {
    const { host } = this.#vm;
    if (!this.#process.gone && host.up) await host.run(`kill ${this.#process.pid}`, CLOSE_MS).catch(() => undefined);
    this.#process[Symbol.dispose]();
  }
}
