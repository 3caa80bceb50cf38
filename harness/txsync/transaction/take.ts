import { readFile, rm } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { WaitTimeoutError } from "../../base/errors.ts";
import type { Generation, TransactionNumber } from "../core/index.ts";
import type { DirtyTracker, TakenPages } from "../dirty/tracker.ts";
import { PausedError, Stopping, type StoppingMonitor } from "./stopping.ts";
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
export type TransactionMonitor = StoppingMonitor;

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
  /** Where outputs have to be drained: what had no room before the device state was saved has it saved again. */
  readonly outputs?: StillOutputs;
  /** How long the guest is held still beyond what has to be done, default 0: one that writes more than the log takes. */
  readonly hold_ms?: number;
  /** Bounds `stop`, default 2 s: the page that a vCPU waits for may never come. */
  readonly stop_timeout_ms?: number;
  /** Called while the guest stands still and its device state is saved: what it has put out by then belongs to the transaction. */
  readonly onStill?: () => void;
  /** Done while the guest stands still and its pages are found, its device state is saved: what it throws is the take's. */
  readonly beside?: () => Promise<void>;
  /** Done while the guest stands still, when its pages have been found and copied: what it throws is the take's. */
  readonly whileStill?: (stopping: Pick<Stopping, "undisturbed">) => Promise<void>;
  /** The guest stands still when it is taken; it is started again only where something fails before. */
  readonly stays?: boolean;
  /** As `StoppingOptions` say. */
  readonly stood?: boolean;
  readonly ran?: boolean;
  readonly onLeft?: () => void;
  /** Called when the guest runs again, before the pages are handed over. */
  readonly onResumed?: () => void;
}

/** Outputs of which something may be on its way while the guest stands still. */
export interface StillOutputs {
  /** `stop` is about to be asked for. */
  stopping(): void;
  /** Settles when all that QEMU had sent by now is here. */
  settle(): Promise<unknown>;
  /**
   * So much has come since `stopping` that QEMU may have found no room for more: then it goes on sending for a guest that
   * stands still, and a state that was saved before all of it had come is not the one that it has.
   */
  readonly lagged: boolean;
  /**
   * Settles when all that the guest has put out is here. @param roundTrip of QEMU's main loop, which goes on sending for a
   * stopped guest while its peer lags, and changes memory and device state as it does
   */
  drain(roundTrip: () => Promise<unknown>): Promise<unknown>;
  /** How much has come, ever. */
  count(): number;
}

export type TakeOutcome =
  /** `stood`: in which state QEMU had it, where it stood still and was left so because somebody else had paused it. */
  | { readonly kind: "taken"; readonly transaction: Transaction; readonly stood?: string }
  /** Nothing was sent to QEMU. */
  | { readonly kind: "refused"; readonly status: string }
  /**
   * `stop` was not answered in time. `cont` is queued behind it, so that the guest runs when it does take effect (not of
   * one that stood before); `released` settles then.
   */
  | { readonly kind: "stop-hung"; readonly waited_ms: number; readonly released: Promise<void> };

const DRAIN_TRIES = 8;

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
  const { tracker, stays = false } = options;
  const status = options.status();
  if (!isStoppable(status)) return { kind: "refused", status };
  const began_ms = performance.now();
  const stop_timeout_ms = options.stop_timeout_ms ?? 2000;
  // All in one go: QEMU has the next when it is done with the one before, and need not wait for us: a fifth of the stillness.
  options.outputs?.stopping();
  using stopping = new Stopping({ ...options, timeout_ms: stop_timeout_ms });
  const saving = save(options);
  saving.catch(() => undefined);
  try {
    await stopping.stands;
  } catch (error) {
    const released = stopping.release();
    released.catch(() => undefined);
    if (error instanceof WaitTimeoutError) return { kind: "stop-hung", waited_ms: stop_timeout_ms, released };
    await released.catch(() => undefined);
    throw error;
  }
  const { paused, stood } = stopping;
  const hold_ms = stood ? 0 : (options.hold_ms ?? 0);
  let left = false;
  try {
    if (stays && paused !== undefined) throw new PausedError(paused);
    const { taken, saved_ms } = await whileStill({ ...options, hold_ms }, stopping, () => drained(options, saving));
    const copied_ms = performance.now();
    left = !stays;
    await stopping.leave(!stays);
    const resumed_ms = performance.now();
    if (!stays && !stood) options.onResumed?.();
    const [device_state, collected] = await Promise.all([readFile(options.state_path), tracker.collect()]);
    await rm(options.state_path);
    const { still_ms } = stopping;
    // Both answers come together: when QEMU was done with the first only its event says.
    const stopped_ms = Math.min(Math.max(stopping.stopped_ms ?? began_ms, began_ms), saved_ms);
    return {
      kind: "taken",
      ...(paused === undefined ? {} : { stood: paused }),
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
          ...(still_ms === undefined ? {} : { still_ms }),
          ...(hold_ms === 0 ? {} : { held_ms: hold_ms }),
          collect_ms: performance.now() - resumed_ms,
        },
      },
    };
  } catch (error) {
    // What went wrong is told when it runs again; a QEMU that does not answer is told by the next one.
    if (!left) await stopping.goOn().catch(() => undefined);
    // Nobody will read what was copied. A helper that is gone needs not be told.
    await tracker.release().catch(() => undefined);
    throw error;
  }
}

type Saving = Pick<TakeOptions, "qmp" | "state_path" | "outputs">;

function save({ qmp, state_path }: Saving): Promise<unknown> {
  return qmp.execute("xen-save-devices-state", { filename: state_path, live: false });
}

/**
 * A guest that runs stands still, its outputs are drained and its device state is saved; nobody here lets it run again.
 * @returns what says whether it stands still (`leaveFrozen`)
 * @throws PausedError where somebody else has paused it, and Error where QEMU does not do it
 */
export async function standStill(options: Saving & { readonly stop_timeout_ms: number }): Promise<Stopping> {
  options.outputs?.stopping();
  const stopping = new Stopping({ qmp: options.qmp, timeout_ms: options.stop_timeout_ms, ran: true });
  try {
    const saving = save(options);
    saving.catch(() => undefined);
    await stopping.stands;
    if (stopping.paused !== undefined) throw new PausedError(stopping.paused);
    await drained(options, saving);
    return stopping;
  } catch (error) {
    stopping[Symbol.dispose]();
    throw error;
  }
}

/**
 * Settles when the device state is saved, and all that the guest has put out is here: none of it was sent after that.
 *
 * What QEMU had no room for when the guest was stopped it sends later, and takes more out of the guest's ring then. Where
 * there always was room nothing comes any more (QEMU: hw/net/virtio-net.c, virtio_net_tx_bh and virtio_net_tx_complete), so
 * the state may be saved in one go with `stop`. Otherwise: drain, save, and drain once more; what came meanwhile is not in
 * the state that was saved, so it is saved again.
 * @throws Error where something comes again and again: a peer that reads has all of it long before
 */
async function drained(options: Saving, saving: Promise<unknown>): Promise<void> {
  const { qmp, outputs } = options;
  await saving;
  if (outputs === undefined) return;
  await outputs.settle();
  if (!outputs.lagged) return;
  const roundTrip = (): Promise<unknown> => qmp.execute("query-status");
  for (let tries = 1; ; tries += 1) {
    await outputs.drain(roundTrip);
    const before = outputs.count();
    await save(options);
    await outputs.drain(roundTrip);
    if (outputs.count() === before) return;
    if (tries === DRAIN_TRIES) throw new Error("the guest, which stands still, goes on putting out");
  }
}

/** Nothing is in here that need not be. */
async function whileStill(options: TakeOptions, stopping: Stopping, saved: () => Promise<unknown>): Promise<Still> {
  const { tracker, n, since, onStill, beside, outputs, hold_ms = 0 } = options;
  await saved();
  const saved_ms = performance.now();
  const count = outputs?.count();
  // After the device state: saving it may write to guest memory, and what it had put out by then is not in it.
  const taking = tracker.take(n, since === "base" ? 0 : since);
  const capturing = beside?.();
  capturing?.catch(() => undefined);
  let taken: TakenPages;
  try {
    // While the helper is at work.
    onStill?.();
  } finally {
    taken = await taking;
  }
  await capturing;
  if (outputs !== undefined && outputs.count() !== count)
    throw new Error("the guest, which stood still, has put something out after its state was saved");
  await options.whileStill?.(stopping);
  if (hold_ms > 0) await delay(hold_ms);
  return { taken, saved_ms };
}

interface Still {
  readonly taken: TakenPages;
  readonly saved_ms: number;
}
