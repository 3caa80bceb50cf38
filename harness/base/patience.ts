import type { Readable } from "node:stream";
import { NothingMovesError } from "./errors.ts";
import { pause, type WaitOptions, within } from "./wait.ts";

/** A wait says now and then what it waits for. */
const SAY_EVERY_MS = 10_000;
/** What could go on for ever buys a wait so many times the patience, and no more. */
const ENDLESS_TIMES = 3;

/** How a wait stands: what moved last, and for how long nothing has. */
export interface Waiting {
  readonly moved: string;
  readonly quiet_ms: number;
}

/**
 * Decides how long to wait where nobody can know how long it takes: as long as something moves. What there is only so
 * much of (pages that are missing, bytes to be read) may move for as long as it likes; what could go on for ever (steps
 * of a guest, transactions, generations) proves that something lives, and not that it comes to an end: that alone is
 * waited for three times as long. Pure: whoever uses it tells the time, in milliseconds on any clock.
 */
export class Patience {
  readonly patience_ms: number;
  #onward_ms: number;
  #alive_ms: number;
  #moved = "nothing yet";
  #said_ms: number;

  constructor(patience_ms: number, now_ms: number) {
    this.patience_ms = patience_ms;
    this.#onward_ms = now_ms;
    this.#alive_ms = now_ms;
    this.#said_ms = now_ms;
  }

  /** Something came nearer to its end. */
  onward(what: string, now_ms: number): void {
    this.#onward_ms = now_ms;
    this.#alive_ms = now_ms;
    this.#moved = what;
  }

  /** Something goes on that could go on for ever. */
  alive(what: string, now_ms: number): void {
    this.#alive_ms = now_ms;
    this.#moved = what;
  }

  /** Why the wait is over, as the end of a sentence; undefined while it may go on. */
  over(now_ms: number): string | undefined {
    if (now_ms - this.#alive_ms > this.patience_ms)
      return `nothing has moved for ${seconds(this.patience_ms)}, the last was: ${this.#moved}`;
    const whole_ms = ENDLESS_TIMES * this.patience_ms;
    if (now_ms - this.#onward_ms > whole_ms)
      return `for ${seconds(whole_ms)} something has moved (the last was: ${this.#moved}) and nothing has come nearer to an end`;
    return undefined;
  }

  /** How it stands, when it is time to say so again. */
  toSay(now_ms: number): Waiting | undefined {
    if (now_ms - this.#said_ms < SAY_EVERY_MS) return undefined;
    this.#said_ms = now_ms;
    return { moved: this.#moved, quiet_ms: Math.round(now_ms - this.#alive_ms) };
  }
}

export interface MovingOptions extends Omit<WaitOptions, "timeout_ms"> {
  readonly patience_ms: number;
  /**
   * What moves, as something to compare: another value than before is progress. It has to come to an end by itself: a
   * counter that runs for ever makes a wait without an end. One that throws or hangs has not moved.
   */
  readonly moves: () => string | number | undefined | Promise<string | number | undefined>;
  /** Told now and then. */
  readonly onWaiting?: ((what: string, waiting: Waiting) => void) | undefined;
}

/**
 * As `waitFor`, for what takes longer the larger the guest is: gives up only when nothing has moved for so long.
 * @throws NothingMovesError when nothing does; whatever `look` throws; the signal's reason when it aborts.
 */
export async function whileMoving<T>(
  options: MovingOptions,
  look: () => T | undefined | Promise<T | undefined>,
): Promise<T> {
  const { what, patience_ms, signal, moves, onWaiting } = options;
  const patience = new Patience(patience_ms, performance.now());
  let before: string | number | undefined;
  for (;;) {
    signal?.throwIfAborted();
    const found = await within({ ...options, timeout_ms: patience_ms }, Promise.resolve(look()));
    if (found !== undefined) return found;
    const now = await within({ what, timeout_ms: patience_ms }, Promise.resolve().then(moves)).catch(() => undefined);
    const now_ms = performance.now();
    if (now !== undefined && now !== before) {
      before = now;
      patience.onward(String(now), now_ms);
    }
    const over = patience.over(now_ms);
    if (over !== undefined) throw new NothingMovesError(what, over, (await options.lastLines?.()) ?? []);
    const say = patience.toSay(now_ms);
    if (say !== undefined) onWaiting?.(what, say);
    await pause(options.interval_ms ?? 50, signal);
  }
}

/**
 * The bytes of a stream, for as long as some come: one that is silent for longer than the patience is destroyed. The time
 * that the reader takes for itself does not count.
 * @throws NothingMovesError when it was; the stream's own error.
 */
export async function* chunksOf(
  stream: Readable,
  options: Pick<MovingOptions, "what" | "patience_ms" | "onWaiting">,
): AsyncGenerator<Buffer, undefined> {
  const { what, patience_ms, onWaiting } = options;
  const patience = new Patience(patience_ms, performance.now());
  let bytes = 0;
  let reading = true;
  const timer = setTimeout(() => {
    const why = `${bytes} bytes came, and then none for ${seconds(patience_ms)}`;
    if (reading) stream.destroy(new NothingMovesError(what, why));
  }, patience_ms);
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      reading = false;
      bytes += chunk.length;
      const now_ms = performance.now();
      patience.onward(`${Math.floor(bytes / 2 ** 20)} MiB`, now_ms);
      const say = patience.toSay(now_ms);
      if (say !== undefined) onWaiting?.(what, say);
      yield chunk;
      reading = true;
      timer.refresh();
    }
  } finally {
    clearTimeout(timer);
  }
  return undefined;
}

function seconds(time_ms: number): string {
  return `${Math.round(time_ms / 100) / 10} s`;
}
