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
 * no event to wait for goes through here, so that none is unbounded.
 * @throws WaitTimeoutError when the time ran out; whatever `look` throws; the signal's reason when it aborts.
 */
export async function waitFor<T>(options: WaitOptions, look: () => T | undefined | Promise<T | undefined>): Promise<T> {
  const deadline_ms = performance.now() + options.timeout_ms;
  for (;;) {
    options.signal?.throwIfAborted();
    const found = await look();
    if (found !== undefined) return found;
    if (performance.now() >= deadline_ms) {
      throw new WaitTimeoutError(options.what, options.timeout_ms, (await options.lastLines?.()) ?? []);
    }
    try {
      await delay(options.interval_ms ?? 10, undefined, options.signal ? { signal: options.signal } : undefined);
    } catch (error) {
      options.signal?.throwIfAborted();
      throw error;
    }
  }
}

/**
 * Bounds a promise: the promise's value, or WaitTimeoutError after `timeout_ms`. The promise itself goes on.
 */
export async function within<T>(options: Omit<WaitOptions, "interval_ms">, promise: Promise<T>): Promise<T> {
  const done = new AbortController();
  const signal = options.signal ? AbortSignal.any([done.signal, options.signal]) : done.signal;
  const expired = delay(options.timeout_ms, "expired" as const, { signal });
  expired.catch(() => undefined);
  promise.catch(() => undefined);
  try {
    const first = await Promise.race([promise.then((value) => ({ value })), expired]);
    if (first !== "expired") return first.value;
  } catch (error) {
    options.signal?.throwIfAborted();
    throw error;
  } finally {
    done.abort();
  }
  throw new WaitTimeoutError(options.what, options.timeout_ms, (await options.lastLines?.()) ?? []);
}
