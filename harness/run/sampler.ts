import { setTimeout as delay } from "node:timers/promises";
import type { HostRole } from "../base/timeline.ts";
import type { StartedVm } from "../fleet/vm.ts";
import type { GuestUnderTest } from "./guests/guest.ts";
import type { Timeline } from "./timeline.ts";

const LOOK_EVERY_MS = 50;

/**
 * Notes on the timeline how far the guest is, on every host that has an instance, while the migration goes on: for the
 * plot of steps per second, and for the longest time in which nobody saw it move (checks/timings.ts).
 */
export class ProgressSampler implements AsyncDisposable {
  readonly #guest: GuestUnderTest;
  readonly #vms: ReadonlyMap<HostRole, StartedVm>;
  readonly #timeline: Timeline;
  readonly #stop = new AbortController();
  readonly #work: Promise<unknown>;

  constructor(guest: GuestUnderTest, vms: ReadonlyMap<HostRole, StartedVm>, timeline: Timeline) {
    this.#guest = guest;
    this.#vms = vms;
    this.#timeline = timeline;
    this.#work = Promise.all([...vms.keys()].map((host) => this.#follow(host)));
  }

  async #follow(host: HostRole): Promise<void> {
    let last = -1;
    while (!this.#stop.signal.aborted) {
      await delay(LOOK_EVERY_MS);
      const vm = this.#vms.get(host);
      if (!vm?.alive || !vm.host.up || !vm.running) continue;
      const step = await this.#guest.steps(vm).catch(() => undefined);
      if (step === undefined || step === last) continue;
      last = step;
      this.#timeline.emit(host, { kind: "guest.progress", host, cpu: 0, step });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#work;
  }
}
