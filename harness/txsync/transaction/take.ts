import { readFile, rm } from "node:fs/promises";
import { WaitTimeoutError } from "../../base/errors.ts";
import type { QmpClient } from "../../qemu/qmp.ts";
import type { Generation, TransactionNumber } from "../core/index.ts";
import type { CollectedPages, DirtyTracker } from "../dirty/tracker.ts";
import type { Transaction } from "./transaction.ts";

/**
 * Migration states of the target in which `stop` is safe. In `postcopy-paused` it hangs as long as a vCPU waits for a
 * page, and every in-band command of every monitor behind it.
 */
const STOPPABLE = ["postcopy-active", "completed"] as const;
export type StoppableStatus = (typeof STOPPABLE)[number];

export function isStoppable(status: string): status is StoppableStatus {
  return (STOPPABLE as readonly string[]).includes(status);
}

/** The part of a QMP client that a transaction needs. */
export type TransactionMonitor = Pick<QmpClient, "execute">;

export interface TakeOptions {
  readonly qmp: TransactionMonitor;
  readonly tracker: Pick<DirtyTracker, "take" | "collect" | "release">;
  readonly generation: Generation;
  readonly n: TransactionNumber;
  /** The last transaction that whoever is told of this one has; "base" for none. */
  readonly since: TransactionNumber | "base";
  /** The target's migration status as its events tell it, looked at right before `stop`. */
  readonly status: () => string;
  /** File on a tmpfs, on the host of QEMU, for the device state. Written, read and removed. */
  readonly state_path: string;
  /** Bounds `stop`, default 2 s: the page that a vCPU waits for may never come. */
  readonly stop_timeout_ms?: number;
  /** Called while the guest stands still, right before it goes on: what it has put out by then belongs to the transaction. */
  readonly onStill?: () => void;
  /** Called when the guest runs again, before the pages are handed over. */
  readonly onResumed?: () => void;
}

export type TakeOutcome =
  | { readonly kind: "taken"; readonly transaction: Transaction }
  /** Nothing was sent to QEMU. */
  | { readonly kind: "refused"; readonly status: string }
  /**
   * `stop` was not answered in time. `cont` is queued behind it, so that the guest runs when it does take effect;
   * `released` settles then.
   */
  | { readonly kind: "stop-hung"; readonly waited_ms: number; readonly released: Promise<void> };

const RELEASE_TIMEOUT_MS = 24 * 3600 * 1000;

/**
 * Takes a transaction: `stop`, device state, find the changed pages and copy them aside, `cont`; then, while the guest
 * runs, reads what was put aside. The guest is started again whatever fails in between. The pages lie in the tracker's
 * spool, which is the caller's until it says `release`: one take at a time, from here to there.
 *
 * QEMU: migration/savevm.c, qmp_xen_save_devices_state. `live: false` keeps it from inactivating block devices.
 * @throws what QMP or the tracker throws; the guest runs, and the spool is released. Nothing else has to be done: what
 *   was found is in the next transaction, as long as its `since` is not this one.
 */
export async function takeTransaction(options: TakeOptions): Promise<TakeOutcome> {
  const { qmp, tracker } = options;
  const status = options.status();
  if (!isStoppable(status)) return { kind: "refused", status };
  const began_ms = performance.now();
  const stop_timeout_ms = options.stop_timeout_ms ?? 2000;
  try {
    await qmp.execute("stop", undefined, { timeout_ms: stop_timeout_ms });
  } catch (error) {
    const resumed = qmp.execute("cont", undefined, { timeout_ms: RELEASE_TIMEOUT_MS });
    if (!(error instanceof WaitTimeoutError)) {
      await resumed.catch(() => undefined);
      throw error;
    }
    const released = resumed.then(() => undefined);
    released.catch(() => undefined);
    return { kind: "stop-hung", waited_ms: stop_timeout_ms, released };
  }
  const stopped_ms = performance.now();
  let saved_ms = stopped_ms;
  let taken: Awaited<ReturnType<DirtyTracker["take"]>>;
  let copied_ms = stopped_ms;
  try {
    await qmp.execute("xen-save-devices-state", { filename: options.state_path, live: false });
    saved_ms = performance.now();
    // After the device state: saving it may write to guest memory.
    taken = await tracker.take(options.n, options.since === "base" ? 0 : options.since);
    options.onStill?.();
  } finally {
    copied_ms = performance.now();
    await qmp.execute("cont");
  }
  const resumed_ms = performance.now();
  options.onResumed?.();
  let collected: CollectedPages;
  let device_state: Buffer;
  try {
    [device_state, collected] = await Promise.all([readFile(options.state_path), tracker.collect()]);
    await rm(options.state_path);
  } catch (error) {
    await tracker.release();
    throw error;
  }
  const done_ms = performance.now();
  return {
    kind: "taken",
    transaction: {
      generation: options.generation,
      n: options.n,
      since: options.since,
      device_state,
      ...collected,
      found_pages: taken.found_pages,
      mode: taken.mode,
      timings: {
        stop_ms: stopped_ms - began_ms,
        device_ms: saved_ms - stopped_ms,
        find_ms: taken.find_ms,
        copy_ms: taken.copy_ms,
        cont_ms: resumed_ms - copied_ms,
        pause_ms: resumed_ms - began_ms,
        collect_ms: done_ms - resumed_ms,
      },
    },
  };
}
