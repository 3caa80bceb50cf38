import { createHistogram } from "node:perf_hooks";
import type { TimelineEventBody } from "../../base/timeline.ts";

const LOOK_EVERY_MS = 10;
const TELL_EVERY_MS = 1_000;

/**
 * How late the control plane is, measured where it matters: a timer that is due every 10 ms, and how long after that it
 * was run. Who gets no processor hears nobody; who reads the timeline should know which it was.
 */
export class Vitals implements Disposable {
  readonly #late_us = createHistogram();
  readonly #looking: NodeJS.Timeout;
  readonly #telling: NodeJS.Timeout;
  readonly #emit: (event: TimelineEventBody) => void;
  #rss_max_bytes = 0;

  /** @param stood_still_ms from here on it is said at once */
  constructor(emit: (event: TimelineEventBody) => void, stood_still_ms: number) {
    this.#emit = emit;
    let due_ms = performance.now() + LOOK_EVERY_MS;
    this.#looking = setInterval(() => {
      const now_ms = performance.now();
      const late_ms = Math.max(0, now_ms - due_ms);
      due_ms = now_ms + LOOK_EVERY_MS;
      this.#late_us.record(Math.max(1, Math.round(late_ms * 1000)));
      if (late_ms > stood_still_ms)
        emit({ kind: "run.note", text: `the agent's control plane stood still for ${Math.round(late_ms)} ms` });
    }, LOOK_EVERY_MS);
    this.#telling = setInterval(() => this.tell(), TELL_EVERY_MS);
    this.#looking.unref();
    this.#telling.unref();
  }

  /** Since the agent's start: lateness of the control plane, memory of the whole process, its data plane included. */
  tell(): void {
    this.#rss_max_bytes = Math.max(this.#rss_max_bytes, process.memoryUsage.rss());
    this.#emit({
      kind: "agent.vitals",
      control_late_p99_ms: this.#late_us.percentile(99) / 1000,
      control_late_max_ms: this.#late_us.max / 1000,
      rss_mib: Math.round(this.#rss_max_bytes / 2 ** 20),
    });
  }

  [Symbol.dispose](): void {
    clearInterval(this.#looking);
    clearInterval(this.#telling);
  }
}
