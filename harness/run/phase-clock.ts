import type { RunTimings } from "../base/run-record.ts";
import type { RunPhase } from "../base/timeline.ts";
import type { Timeline } from "./timeline.ts";

/** Measures how long each phase took, and says on the timeline where the run is. */
export class PhaseClock {
  readonly #timeline: Timeline;
  readonly #spent_ms = new Map<RunPhase, number>();
  #current: { phase: RunPhase; since_ms: number } | undefined;
  /** The longest time in which the guest was not seen to move while it was carried over, to 50 ms or so. */
  downtime_ms: number | undefined;

  constructor(timeline: Timeline) {
    this.#timeline = timeline;
  }

  enter(phase: RunPhase): void {
    this.#leave();
    this.#current = { phase, since_ms: this.#timeline.now_ms };
    this.#timeline.emit("run", { kind: "run.phase", phase });
  }

  #leave(): void {
    if (!this.#current) return;
    const { phase, since_ms } = this.#current;
    this.#spent_ms.set(phase, (this.#spent_ms.get(phase) ?? 0) + this.#timeline.now_ms - since_ms);
    this.#current = undefined;
  }

  /** @param arrived whether there is a VM at the end: one that never came back was not down, it is lost */
  timings(arrived: boolean): RunTimings {
    this.#leave();
    const spent = (phase: RunPhase): number => Math.round(this.#spent_ms.get(phase) ?? 0);
    return {
      total_ms: Math.round(this.#timeline.now_ms),
      fleet_ms: spent("fleet"),
      boot_ms: spent("boot"),
      migration_ms: spent("migrate") + spent("settle"),
      check_ms: spent("check"),
      ...(this.downtime_ms === undefined || !arrived ? {} : { downtime_ms: this.downtime_ms }),
    };
  }
}
