/** No more is made up for than so many seconds' worth of the rate: one long record is not. */
const DEBT_S = 0.1;
/** And out of this share of it: a guest that writes faster than that has the rest of its memory all the same. */
const SHARE = 0.5;

/**
 * What went before the rest (a record) used of a bound that both have, and the rest has not gone without yet. What goes
 * before it is never held back, so the bound is kept for as long as that is less than half of it.
 */
export class Debt {
  #bytes = 0;

  /** So much went before the rest, of a bound of so many bytes per second. */
  add(bytes: number, bytes_per_s: number): void {
    this.#bytes = Math.min(this.#bytes + bytes, bytes_per_s * DEBT_S);
  }

  /** @returns what the rest has to go without of so many bytes of the bound: half of them at most */
  payOf(bytes: number): number {
    const paid = Math.min(this.#bytes, bytes * SHARE);
    this.#bytes -= paid;
    return paid;
  }

  /** The same for one who knows what it has sent: @returns what is to be counted beside it, as much again at most */
  payBeside(bytes: number): number {
    return this.payOf(bytes / (1 - SHARE));
  }
}
