import { createWriteStream, type WriteStream } from "node:fs";
import { finished } from "node:stream/promises";
import type { Emit, Lane, TimelineEvent, TimelineEventBody } from "../base/timeline.ts";

/** What stands behind the events that a run is judged by: what its checks said, and what followed. */
export function isEnding({ kind }: TimelineEvent): boolean {
  return kind === "check.result" || kind === "run.finished";
}

/** The timeline of a run while it is being written: kept in memory for checks, and on disk line by line. */
export class Timeline {
  readonly #started_ms = performance.now();
  readonly #file: WriteStream;
  readonly #events: TimelineEvent[] = [];
  #sealed = false;
  #closed = false;
  readonly #listeners = new Set<(event: TimelineEvent) => void>();

  constructor(path: string) {
    this.#file = createWriteStream(path);
  }

  get now_ms(): number {
    return performance.now() - this.#started_ms;
  }

  get events(): readonly TimelineEvent[] {
    return this.#events;
  }

  readonly emit: Emit = (lane: Lane, body: TimelineEventBody): void => {
    this.append({ at_ms: Math.round(this.now_ms * 1000) / 1000, lane, ...body });
  };

  append(event: TimelineEvent): void {
    // A process on a host that was taken down may be seen to exit after the run is over: too late to be part of it.
    if (this.#closed || (this.#sealed && !isEnding(event))) return;
    this.#events.push(event);
    this.#file.write(`${JSON.stringify(event)}\n`);
    for (const listener of [...this.#listeners]) listener(event);
  }

  /** Calls back for every event from now on. */
  onEvent(listener: (event: TimelineEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** From now on only what comes of it is written: everything that the run is judged by is there. That is handed back. */
  seal(): readonly TimelineEvent[] {
    this.#sealed = true;
    return [...this.#events];
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#file.end();
    await finished(this.#file);
  }
}
