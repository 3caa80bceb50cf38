import { setTimeout as delay } from "node:timers/promises";
import type { HostRole } from "../base/timeline.ts";
import type { StartedVm } from "../fleet/vm.ts";
import { Eye } from "./eye.ts";
import type { GuestClock, GuestUnderTest } from "./guests/guest.ts";
import type { Timeline } from "./timeline.ts";

const LOOK_EVERY_MS = 50;

/**
 * Notes on the timeline how far the guest is, on every host that has an instance, while the migration goes on: for the
 * plot of steps per second, and for the longest time in which it stood still (checks/timings.ts). A guest that says so in
 * its memory is looked at by a process of its host, which goes on looking while the harness is late.
 */
export class ProgressSampler implements AsyncDisposable {
  readonly #guest: GuestUnderTest;
  readonly #vms: ReadonlyMap<HostRole, StartedVm>;
  readonly #timeline: Timeline;
  readonly #stop = new AbortController();
  readonly #work: Promise<unknown>;
  /** Between a host's clock and the run's: nothing is heard before it was said. */
  #offset_ms = Number.POSITIVE_INFINITY;

  constructor(guest: GuestUnderTest, vms: ReadonlyMap<HostRole, StartedVm>, timeline: Timeline) {
    this.#guest = guest;
    this.#vms = vms;
    this.#timeline = timeline;
    const { clock } = guest;
    const follow = (host: HostRole): Promise<void> =>
      clock === undefined ? this.#ask(host) : this.#watch(host, clock);
    this.#work = Promise.all([...vms.keys()].map(follow));
  }

  #vm(host: HostRole): StartedVm | undefined {
    const vm = this.#vms.get(host);
    return vm?.alive && vm.host.up ? vm : undefined;
  }

  async #ask(host: HostRole): Promise<void> {
    let last = -1;
    while (!this.#stop.signal.aborted) {
      await delay(LOOK_EVERY_MS);
      const vm = this.#vm(host);
      if (!vm?.running) continue;
      const step = await this.#guest.steps(vm).catch(() => undefined);
      if (step === undefined || step === last) continue;
      last = step;
      this.#timeline.emit(host, { kind: "guest.progress", host, cpu: 0, step });
    }
  }

  async #watch(host: HostRole, clock: GuestClock): Promise<void> {
    let eye: Eye | undefined;
    while (!this.#stop.signal.aborted) {
      await delay(LOOK_EVERY_MS);
      const vm = this.#vm(host);
      if (vm === undefined || eye?.looksAt(vm) === true) continue;
      await eye?.close();
      // A host that dies or is frozen just now opens none: asked again for as long as there is a VM.
      eye = await Eye.open(vm, clock, LOOK_EVERY_MS, this.#noting(host)).catch(() => undefined);
    }
    await eye?.close();
  }

  /** What is seen goes onto the timeline where it is new. */
  #noting(host: HostRole): Parameters<typeof Eye.open>[3] {
    let step = -1;
    let before_ms: number | undefined;
    return (at_ms, seen) => {
      this.#offset_ms = Math.min(this.#offset_ms, this.#timeline.now_ms - at_ms);
      // Memory that changes while no vCPU runs is changed by somebody else.
      const running = this.#vm(host)?.running === true && seen !== undefined;
      const unseen_ms = before_ms === undefined ? undefined : at_ms - before_ms;
      before_ms = running ? at_ms : undefined;
      if (!running || seen.step === step) return;
      step = seen.step;
      this.#timeline.emit(host, {
        kind: "guest.progress",
        host,
        cpu: 0,
        step,
        looked_ms: rounded(at_ms + this.#offset_ms),
        ...(unseen_ms === undefined ? {} : { unseen_ms: rounded(unseen_ms) }),
        ran_ms: seen.ran_ms,
      });
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#work;
  }
}

function rounded(ms: number): number {
  return Math.max(0, Math.round(ms * 1000) / 1000);
}
