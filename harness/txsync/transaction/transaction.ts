import { PAGE_BYTES } from "../../base/page.ts";
import type { Generation, TransactionNumber } from "../core/index.ts";
import { ENTRY_BYTES } from "../dirty/pages.ts";
import type { CollectedPages, FindMode } from "../dirty/tracker.ts";

/** How long the parts of a transaction took, ms. The guest stands still for a part of `pause_ms`. */
export interface TransactionTimings {
  /** QMP `stop`: long where a vCPU waits for a page. */
  readonly stop_ms: number;
  readonly device_ms: number;
  readonly find_ms: number;
  readonly copy_ms: number;
  /** QMP `cont`; the guest runs before it is answered. */
  readonly cont_ms: number;
  /** From sending `stop` to the answer of `cont`: an upper bound of what the guest sees. */
  readonly pause_ms: number;
  /** From STOP to RESUME by QEMU's own clock: what the guest sees. Absent where QEMU did not tell both. */
  readonly still_ms?: number;
  /** Of that, for how long it was only held back: it writes more than the log takes. Absent: not at all. */
  readonly held_ms?: number;
  /** Handing the pages over, after `cont`. */
  readonly collect_ms: number;
}

/** A consistent point of the VM: device state, and every page that changed after transaction `since`. */
export interface Transaction extends CollectedPages {
  readonly generation: Generation;
  readonly n: TransactionNumber;
  readonly since: TransactionNumber | "base";
  /** As `xen-save-devices-state` wrote it: stream header, device sections, end mark. */
  readonly device_state: Buffer;
  /** Of its pages, the ones that changed since they were last taken. */
  readonly found_pages: number;
  readonly mode: FindMode;
  readonly timings: TransactionTimings;
}

/** What a transaction takes until it is sent: device state in memory, entries and contents in the spool. */
export function bytesOf({ device_state, spool }: Transaction): number {
  return device_state.length + spool.pages * ENTRY_BYTES + spool.full_pages * PAGE_BYTES;
}
