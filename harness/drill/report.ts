import type { FindMode } from "../txsync/dirty/tracker.ts";

export interface Spread {
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly max: number;
}

export interface DrillReport {
  readonly qemu_version: string;
  readonly transactions: number;
  readonly transactions_in_postcopy: number;
  readonly modes: readonly FindMode[];
  readonly mode_why: string;
  /** Pages that the sure way found and the quick way did not: has to be 0. */
  readonly missed_pages: number;
  /** Pages that the quick way found and that hold what the log has already. */
  readonly surplus_pages: number;
  readonly compared: number;
  /** Pages of small blocks on the target after the first look both ways: QEMU sends them last, so there is none. */
  /** Pages that a look had fetched of what the target lacked, at most; null where that was not looked at, or none lacked. */
  readonly look_requests: number | null;
  readonly small_block_pages_changed: number;
  readonly pages: Spread;
  readonly transaction_bytes: Spread;
  readonly stop_ms: Spread;
  readonly device_ms: Spread;
  readonly find_ms: Spread;
  readonly copy_ms: Spread;
  readonly cont_ms: Spread;
  readonly pause_ms: Spread;
  /** By QEMU's own STOP and RESUME stamps. */
  readonly still_ms: Spread;
  /** Pause without the wait for `stop`. */
  readonly pause_beyond_stop_ms: Spread;
  /** How many trackers there were. */
  readonly lives: number;
  /** Over all transactions that were stored: pages that were there, and of those the ones that base and log do not give. */
  readonly witnessed?: {
    readonly pages_compared: number;
    readonly wrong_pages: number;
    readonly wrong_digests: number;
  };
  readonly quick_find_ms: Spread;
  readonly sure_find_ms: Spread;
  readonly base_pages_ok: boolean;
  readonly steps_at_switchover: number;
  readonly steps_at_last_transaction: number;
  readonly restored: {
    readonly build_ms: number;
    readonly copy_ms: number;
    readonly apply_ms: number;
    readonly start_qemu_ms: number;
    readonly load_ms: number;
    readonly cont_ms: number;
    /** From the decision to the running guest; building the file and starting QEMU overlap only where they may. */
    readonly total_ms: number;
    readonly ram_ok: boolean;
    readonly ram_bad: number;
    readonly steps: number;
    readonly ram_ok_after_run: boolean;
    readonly steps_after_run: number;
    readonly guest_bad_pages: number;
    readonly guest_errors: number;
    /** What was written into a small block before a transaction is there again. */
    readonly small_block_ok: boolean;
  };
  readonly afterlife?: {
    readonly migrated_again: boolean;
    readonly ram_ok: boolean;
    readonly boot_id_changed: boolean;
    readonly ram_ok_after_reset: boolean;
    readonly guest_bad_pages: number;
  };
}

/** Percentiles, rounded to hundredths. */
export function spread(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share: number) =>
    Math.round((sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0) * 100) / 100;
  return { p50: at(0.5), p90: at(0.9), p99: at(0.99), max: at(1) };
}
