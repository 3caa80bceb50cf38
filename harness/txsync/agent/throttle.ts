/** The most that the guest is held back, of its time; and in one go, so that it never looks dead. */
const SHARE_MAX = 0.5;
const STEP = 0.05;
export const HOLD_MS_MAX = 250;

export interface ThrottleOptions {
  /** A record that takes longer than this from being taken to being stored is too much for the log. */
  readonly slow_ms: number;
}

/**
 * A guest that writes faster than the log takes. First epochs stretch, because one record is under way at a time; where
 * that is not enough the guest is held back in its pauses, a little more with every record that was late and a little less
 * with every one that was not. So what waits is bounded by the guest's memory, and what is lost in a recovery by a few
 * epochs. (QEMU does the same to a guest that migrates: migration/ram.c, mig_throttle_guest_down; it stops at 99 %.)
 */
export class Throttle {
  readonly #options: ThrottleOptions;
  #share = 0;

  constructor(options: ThrottleOptions) {
    this.#options = options;
  }

  /** Of the guest's time, 0 to 0.5. */
  get share(): number {
    return this.#share;
  }

  /** A record was stored after so long. @returns whether the share is another one now */
  stored(latency_ms: number): boolean {
    const { slow_ms } = this.#options;
    const before = this.#share;
    if (latency_ms > slow_ms) this.#share = Math.min(SHARE_MAX, before + STEP);
    else if (latency_ms < slow_ms / 2) this.#share = Math.max(0, before - STEP);
    // In steps of 5 %, whatever floating point makes of their sum.
    this.#share = Math.round(this.#share / STEP) * STEP;
    return this.#share !== before;
  }

  /** How long the guest is held in the pause that ends a time in which it ran. ms, 250 at most. */
  hold_ms(ran_ms: number): number {
    if (this.#share === 0) return 0;
    return Math.min(HOLD_MS_MAX, (this.#share / (1 - this.#share)) * Math.max(0, ran_ms));
  }
}
