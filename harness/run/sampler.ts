import { setTimeout as delay } from "node:timers/promises";
import type { HostRole } from "../base/timeline.ts";
import type { StartedVm } from "../fleet/vm.ts";
import type { GuestUnderTest } from "./guests/guest.ts";
import type { Timeline } from "./timeline.ts";

const LOOK_EVERY_MS = 50;

/**
 * Notes on the timeline how far the guest is, on every host that has an instance, while the migration goes on: for the
 * plot of steps per second, and for the longest time in which nobody saw it move.
 */
export class ProgressSampler implements AsyncDisposable {
  readonly #guest: GuestUnderTest;
  readonly #vms: ReadonlyMap<HostRole, StartedVm>;
  readonly #timeline: Timeline;
  readonly #stop = new AbortController();
  readonly #work: Promise<unknown>;
  #furthest = -1;
  #moved_ms: number | undefined;
  #downtime_ms = 0;

  constructor(guest: GuestUnderTest, vms: ReadonlyMap<HostRole, StartedVm>, timeline: Timeline) {
    this.#guest = guest;
    this.#vms = vms;
    this.#timeline = timeline;
    this.#work = Promise.all([...vms.keys()].map((host) => this.#follow(host)));
  }

  /** The longest time so far between two looks at which the guest had got further, anywhere. */
  get downtime_ms(): number {
    return Math.round(this.#downtime_ms);
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
      if (step <= this.#furthest) continue;
      const now_ms = this.#timeline.now_ms;
      if (this.#moved_ms !== undefined) this.#downtime_ms = Math.max(this.#downtime_ms, now_ms - this.#moved_ms);
      this.#furthest = step;
      this.#moved_ms = now_ms;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#work;
  }
}
