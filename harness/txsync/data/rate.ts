/**
 * Unused allowance grows no further than this, ms: QEMU keeps its own bound over as long (BUFFER_DELAY, migration.c), and
 * who has to wait for a processor would otherwise lose what it was late by.
 */
const BURST_MS = 100;

/**
 * A bound of bytes per second for all that is long and goes out of here. Whoever has something to send waits for its
 * turn; what must not wait is only counted, and the others wait the longer. 0 for no bound.
 */
export class Rate {
  bytes_per_s: number;
  readonly #now: () => number;
  /** By then everything that was counted so far is paid for. */
  #paid_ms = Number.NEGATIVE_INFINITY;

  constructor(bytes_per_s: number, now: () => number = () => performance.now()) {
    this.bytes_per_s = bytes_per_s;
    this.#now = now;
  }

  /** Something went out. */
  count(bytes: number): void {
    if (this.bytes_per_s <= 0) return;
    this.#paid_ms = Math.max(this.#paid_ms, this.#now() - BURST_MS) + (bytes / this.bytes_per_s) * 1000;
  }

  /** How long whoever has something to send has to wait first, ms. */
  get wait_ms(): number {
    return this.bytes_per_s <= 0 ? 0 : Math.max(0, this.#paid_ms - this.#now());
  }
}
