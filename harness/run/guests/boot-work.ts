import type { StartedVm } from "../../fleet/vm.ts";
import { processesIn } from "../host-usage.ts";

/** A boot that has used so much of a processor and says nothing has come to a stop: it takes 2 to 10 s. */
const BOOT_CPU_S_MAX = 40;
const LOOK_EVERY_MS = 1_000;
const ANSWER_MS = 5_000;

/**
 * How much of a processor the VM's QEMU has used, whole seconds, up to what a boot needs at most: a firmware says nothing
 * while it is at work, and on a machine where everything is busy that takes as long as it gets no processor. Is asked
 * once a second, however often it is wanted.
 */
export class BootWork {
  #looked_ms = Number.NEGATIVE_INFINITY;
  #cpu_s = 0;

  async of(vm: StartedVm): Promise<number> {
    const now_ms = performance.now();
    if (now_ms - this.#looked_ms < LOOK_EVERY_MS) return this.#cpu_s;
    this.#looked_ms = now_ms;
    const stat = await vm.host.run(`cat /proc/${vm.process.pid}/stat`, ANSWER_MS).catch(() => "");
    this.#cpu_s = Math.min(BOOT_CPU_S_MAX, Math.max(this.#cpu_s, Math.floor(cpuSecondsIn(stat))));
    return this.#cpu_s;
  }
}

/** Of all its threads, in user space and for it in the kernel; 0 where there is no such process. */
export function cpuSecondsIn(stat: string): number {
  return (processesIn(stat)[0]?.cpu_ms ?? 0) / 1000;
}
