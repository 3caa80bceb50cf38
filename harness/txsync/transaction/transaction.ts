import type { Generation, TransactionNumber } from "../core/index.ts";
import type { PageSet } from "../dirty/pages.ts";
import type { FindMode } from "../dirty/tracker.ts";

/** How long the parts of a transaction took, ms. The guest does not run in `pause_ms`, and may run in `collect_ms`. */
export interface TransactionTimings {
  /** QMP `stop`: long where a vCPU waits for a page. */
  readonly stop_ms: number;
  readonly device_ms: number;
  readonly find_ms: number;
  readonly copy_ms: number;
  /** QMP `cont`. */
  readonly cont_ms: number;
  /** From sending `stop` to the answer of `cont`: an upper bound of what the guest sees. */
  readonly pause_ms: number;
  /** Handing the pages over, after `cont`. */
  readonly collect_ms: number;
}

/** A consistent point of the VM: device state, and every page that differs from transaction n-1 (DESIGN.md, "Words"). */
export interface Transaction {
  readonly generation: Generation;
  readonly n: TransactionNumber;
  /** As `xen-save-devices-state` wrote it: stream header, device sections, end mark. */
  readonly device_state: Buffer;
  readonly pages: PageSet;
  readonly mode: FindMode;
  /** Pages that were written with what the log has already. */
  readonly same_pages: number;
  readonly timings: TransactionTimings;
}

/** What a transaction takes in memory until it is sent. */
export function bytesOf(transaction: Transaction): number {
  return transaction.device_state.length + transaction.pages.bytes;
}
