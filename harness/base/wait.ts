import { setTimeout as delay } from "node:timers/promises";
import { WaitTimeoutError } from "./errors.ts";

export interface WaitOptions {
  /** What is awaited, for the error message: "the target's QEMU to report completed". */
  readonly what: string;
  readonly timeout_ms: number;
  /** Pause between two looks, default 10 ms. */
  readonly interval_ms?: number;
  readonly signal?: AbortSignal | undefined;
  /** Called when the wait ran out: the last lines of whatever log tells why. */
  readonly lastLines?: () => readonly string[] | Promise<readonly string[]>;
}

/**
 * Looks again and again until `look` returns something other than `undefined`; every wait of the harness that has
 * no event to wait for goes through here, so that none is unbounded. A look that does not come back is no exception:
 * it gets what is left of the time, and is left to itself then.
 * @throws WaitTimeoutError when the time ran out; whatever `look` throws; the signal's reason when it aborts.
 */
export async function waitFor<T>(options: WaitOptions, look: () => T | undefined | Promise<T | undefined>): Promise<T> {
  const deadline_ms = performance.now() + options.timeout_ms;
  for (;;) {
    options.signal?.throwIfAborted();
    const looked = look();
    const found = looked instanceof Promise ? await lookBefore(deadline_ms, options, looked) : looked;
    if (found !== undefined) return found;
    if (performance.now() >= deadline_ms) throw await expired(options);
    await pause(options.interval_ms ?? 10, options.signal);
  }
}

/**
 * Bounds a promise: the promise's value, or WaitTimeoutError after `timeout_ms`. The promise itself goes on.
 */
export async function within<T>(options: Omit<WaitOptions, "interval_ms">, promise: Promise<T>): Promise<T> {
  return await lookBefore(performance.now() + options.timeout_ms, options, promise);
}

/** Waits a while. @throws the signal's reason when it aborts */
export async function pause(pause_ms: number, signal?: AbortSignal): Promise<void> {
  try {
    await delay(pause_ms, undefined, signal ? { signal } : undefined);
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  }
}

async function lookBefore<T>(deadline_ms: number, options: WaitOptions, promise: Promise<T>): Promise<T> {
  const done = new AbortController();
  const signal = options.signal ? AbortSignal.any([done.signal, options.signal]) : done.signal;
  const over = delay(Math.max(0, deadline_ms - performance.now()), "over" as const, { signal });
  over.catch(() => undefined);
  promise.catch(() => undefined);
  try {
    const first = await Promise.race([promise.then((value) => ({ value })), over]);
    if (first !== "over") return first.value;
  } catch (error) {
    options.signal?.throwIfAborted();
    throw error;
  } finally {
    done.abort();
  }
  throw await expired(options);
}

async function expired({ what, timeout_ms, lastLines }: WaitOptions): Promise<WaitTimeoutError> {
  return new WaitTimeoutError(what, timeout_ms, (await lastLines?.()) ?? []);
}
