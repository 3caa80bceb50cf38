import { readFile, rm } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { WaitTimeoutError } from "../../base/errors.ts";
import type { QmpClient } from "../../qemu/qmp.ts";
import type { StatusInfo } from "../../qemu/qmp-protocol.ts";
import type { Generation, TransactionNumber } from "../core/index.ts";
import type { DirtyTracker, TakenPages } from "../dirty/tracker.ts";
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
export type TransactionMonitor = Pick<QmpClient, "execute" | "on">;

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
  readonly whileStill?: () => Promise<void>;
  /** The guest stands still when it is taken; it is started again only where something fails before. */
  readonly stays?: boolean;
  /** It stood still before, and is not this transaction's to start again, whatever comes. */
  readonly stood?: boolean;
  /**
   * It has run since it was last let run, so where it stands somebody else has paused it (an operator, a debugger, an error of
   * its disk): QEMU is asked, and leaves it as it stood.
   */
  readonly ran?: boolean;
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
const RELEASE_TIMEOUT_MS = 24 * 3600 * 1000;

/** How long the guest stood still, by QEMU's own stamps of its events. */
class Stillness implements Disposable {
  #stopped_at_ms: number | undefined;
  #resumed_at_ms: number | undefined;
  readonly #unhear: () => void;

  constructor(qmp: Pick<QmpClient, "on">) {
    // RESUME is told before `cont` is answered, over the same monitor (QEMU: softmmu/cpus.c, vm_prepare_start).
    this.#unhear = qmp.on((event) => {
      if (event.kind === "stop") this.#stopped_at_ms = event.at_ms;
      if (event.kind === "resume") this.#resumed_at_ms = event.at_ms;
    });
  }

  /** When it began, by this process's clock: QEMU is on the same host. Undefined where it was not told. */
  get stopped_ms(): number | undefined {
    return this.#stopped_at_ms === undefined ? undefined : this.#stopped_at_ms - performance.timeOrigin;
  }

  /** Undefined where the two were not both told. */
  get still_ms(): number | undefined {
    const [from, to] = [this.#stopped_at_ms, this.#resumed_at_ms];
    return from === undefined || to === undefined || to < from ? undefined : to - from;
  }

  [Symbol.dispose](): void {
    this.#unhear();
  }
}

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
  const { qmp, tracker, ran = false } = options;
  const status = options.status();
  if (!isStoppable(status)) return { kind: "refused", status };
  using stillness = new Stillness(qmp);
  const began_ms = performance.now();
  const stop_timeout_ms = options.stop_timeout_ms ?? 2000;
  let paused: string | undefined;
  // All in one go: QEMU has the next when it is done with the one before, and need not wait for us: a fifth of the stillness.
  options.outputs?.stopping();
  const looking =
    ran && options.stood !== true
      ? qmp.execute("query-status", undefined, { timeout_ms: stop_timeout_ms }).then((now) => {
          paused = pausedAs(now);
        })
      : undefined;
  const stopping = qmp.execute("stop", undefined, { timeout_ms: stop_timeout_ms });
  const saving = save(options);
  saving.catch(() => undefined);
  const stands = (): boolean => options.stood === true || paused !== undefined;
  try {
    await Promise.all([looking, stopping]);
  } catch (error) {
    // Of one that stood the next word is waited for as well: it is answered when `stop` is over.
    const resumed: Promise<unknown> = stands()
      ? qmp.execute("query-status", undefined, { timeout_ms: RELEASE_TIMEOUT_MS })
      : qmp.execute("cont", undefined, { timeout_ms: RELEASE_TIMEOUT_MS });
    if (!(error instanceof WaitTimeoutError)) {
      await resumed.catch(() => undefined);
      throw error;
    }
    const released = resumed.then(() => undefined);
    released.catch(() => undefined);
    return { kind: "stop-hung", waited_ms: stop_timeout_ms, released };
  }
  const stood = stands();
  const hold_ms = stood ? 0 : (options.hold_ms ?? 0);
  try {
    // Its device state says that it runs, for that is what another host is to do with it.
    if (options.stays === true && paused !== undefined)
      throw new Error(`somebody has paused the VM (${paused}), and it would run where it goes: let it run first`);
    const { taken, saved_ms, copied_ms } = await whileStill({ ...options, stood, hold_ms }, () =>
      drained(options, saving),
    );
    const resumed_ms = performance.now();
    if (options.stays !== true && !stood) options.onResumed?.();
    const [device_state, collected] = await Promise.all([readFile(options.state_path), tracker.collect()]);
    await rm(options.state_path);
    const { still_ms } = stillness;
    // Both answers come together: when QEMU was done with the first only its event says.
    const stopped_ms = Math.min(Math.max(stillness.stopped_ms ?? began_ms, began_ms), saved_ms);
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
    // Nobody will read what was copied. A helper that is gone needs not be told.
    await tracker.release().catch(() => undefined);
    // Where it was to stand still it stands yet.
    if (options.stays === true && !stood) await qmp.execute("cont");
    throw error;
  }
}

/**
 * In which state somebody has the VM stand still; undefined where it runs. One that sleeps by itself (ACPI S3) counts as
 * running: since QEMU 9.0 `stop` pauses it like any other, and only `cont` lets it sleep on, to be woken
 * (system/runstate.c, vm_prepare_start).
 */
export function pausedAs({ running, status }: StatusInfo): string | undefined {
  return running || status === "suspended" ? undefined : status;
}

type Saving = Pick<TakeOptions, "qmp" | "state_path" | "outputs">;

function save({ qmp, state_path }: Saving): Promise<unknown> {
  return qmp.execute("xen-save-devices-state", { filename: state_path, live: false });
}

/** The guest stands still, its outputs are drained and its device state is saved; nobody lets it run again. */
export async function standStill(options: Saving & { readonly stop_timeout_ms: number }): Promise<void> {
  options.outputs?.stopping();
  const stopping = options.qmp.execute("stop", undefined, { timeout_ms: options.stop_timeout_ms });
  const saving = save(options);
  saving.catch(() => undefined);
  await stopping;
  await drained(options, saving);
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

/** From the stopped guest to the running one, whatever fails in between: nothing is in here that need not be. */
async function whileStill(options: TakeOptions, saved: () => Promise<unknown>): Promise<Still> {
  const { qmp, tracker, n, since, onStill, beside, outputs, hold_ms = 0, stays = false, stood = false } = options;
  let copied_ms = 0;
  let done = false;
  try {
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
    await options.whileStill?.();
    if (hold_ms > 0) await delay(hold_ms);
    copied_ms = performance.now();
    done = true;
    return { taken, saved_ms, copied_ms };
  } finally {
    if (!stood && (!done || !stays)) await qmp.execute("cont");
  }
}

interface Still {
  readonly taken: TakenPages;
  readonly saved_ms: number;
  readonly copied_ms: number;
}
