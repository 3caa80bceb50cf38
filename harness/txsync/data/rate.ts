import { Debt } from "../pages/debt.ts";

/**
 * Unused allowance grows no further than this, ms: who has to wait for a processor for some 100 ms, as happens on a busy
 * machine, would otherwise lose what it was late by. QEMU keeps its own bound over 100 ms (BUFFER_DELAY, migration.c), and goes
 * over it by what its last buffers hold.
 */
const BURST_MS = 250;

/**
 * A bound of bytes per second for all that is long and goes out of here. Whoever has something to send waits for its
 * turn; what must not wait is only counted, and the others wait the longer. 0 for no bound.
 */
export class Rate {
  bytes_per_s: number;
  readonly #now: () => number;
  /** Allowance that nobody used, and that was lost, ms. */
  lost_ms = 0;
  /** By then everything that was counted so far is paid for. */
  #paid_ms = Number.NEGATIVE_INFINITY;
  readonly #debt = new Debt();

  constructor(bytes_per_s: number, now: () => number = () => performance.now()) {
    this.bytes_per_s = bytes_per_s;
    this.#now = now;
  }

  /** Something went out. */
  count(bytes: number): void {
    if (this.bytes_per_s <= 0) return;
    const from_ms = this.#now() - BURST_MS;
    if (Number.isFinite(this.#paid_ms)) this.lost_ms += Math.max(0, from_ms - this.#paid_ms);
    const counted = bytes + this.#debt.payBeside(bytes);
    this.#paid_ms = Math.max(this.#paid_ms, from_ms) + (counted / this.bytes_per_s) * 1000;
  }

  /** Something that goes before all of this used so much of the same bound: what goes out next waits for it. */
  spent(bytes: number): void {
    this.#debt.add(bytes, this.bytes_per_s);
  }

  /** How long whoever has something to send has to wait first, ms. */
  get wait_ms(): number {
    return this.bytes_per_s <= 0 ? 0 : Math.max(0, this.#paid_ms - this.#now());
  }
}
