import { compareStamps, NO_STAMP, type Stamp } from "./stamp.ts";

/** A connection that was closed out may do nothing any more. */
export class FencedError extends Error {
  override readonly name = "FencedError";
}

export interface FenceOptions {
  /**
   * Whoever connects with a later stamp closes earlier ones out: what storage does whose owners cannot tell it otherwise.
   * Without, that is done by `closeOut` alone.
   */
  readonly newest_wins: boolean;
  /** What an earlier life had closed out. */
  readonly lowest?: Stamp;
  /** Keeps it for the next life, before anybody is let in by it. @throws where that fails: nobody is let in */
  readonly keep?: (lowest: Stamp) => void;
}

/** Says who may do something to an export, and waits for what those that may not have in hand. */
export class Fence {
  readonly #newest_wins: boolean;
  readonly #admitted = new Set<Admission>();
  readonly #keep: (lowest: Stamp) => void;
  #lowest: Stamp;

  constructor({ newest_wins, lowest = NO_STAMP, keep = () => undefined }: FenceOptions) {
    this.#newest_wins = newest_wins;
    this.#lowest = lowest;
    this.#keep = keep;
  }

  /** Who comes before this stamp is closed out. */
  get lowest(): Stamp {
    return this.#lowest;
  }

  /**
   * Lets a connection in, once an earlier one of the same stamp (and with `newest_wins` of every lower one) has nothing in
   * hand any more.
   * @throws FencedError where it is closed out itself
   */
  async admit(stamp: Stamp): Promise<Admission> {
    this.#check(stamp);
    if (this.#newest_wins) this.#raise(stamp);
    const before = [...this.#admitted].filter((other) => {
      const order = compareStamps(other.stamp, stamp);
      return order === 0 || (order < 0 && this.#newest_wins);
    });
    const admission = new Admission(stamp, (gone) => this.#admitted.delete(gone));
    this.#admitted.add(admission);
    await Promise.all(before.map((other) => other.end()));
    if (admission.signal.aborted) throw new FencedError("a later connection came meanwhile");
    return admission;
  }

  /** Somebody who changes nothing: nobody is closed out by it, nor it by anybody. */
  reader(): Admission {
    return new Admission(NO_STAMP, () => undefined);
  }

  /** From now on whoever is below this stamp may do nothing; resolves when nothing of theirs is in hand any more. */
  async closeOut(below: Stamp): Promise<void> {
    this.#raise(below);
    const out = [...this.#admitted].filter(({ stamp }) => compareStamps(stamp, this.#lowest) < 0);
    await Promise.all(out.map((admission) => admission.end()));
  }

  #raise(stamp: Stamp): void {
    if (compareStamps(stamp, this.#lowest) <= 0) return;
    this.#keep(stamp);
    this.#lowest = stamp;
  }

  #check(stamp: Stamp): void {
    if (compareStamps(stamp, this.#lowest) >= 0) return;
    throw new FencedError(`generation ${stamp.generation} is closed out by ${this.#lowest.generation}`);
  }
}

/** What one connection may do. */
export class Admission {
  readonly stamp: Stamp;
  readonly #ended = new AbortController();
  readonly #in_hand = new Set<Promise<unknown>>();
  readonly #onEnd: (admission: Admission) => void;

  constructor(stamp: Stamp, onEnd: (admission: Admission) => void) {
    this.stamp = stamp;
    this.#onEnd = onEnd;
  }

  /** Aborts when the connection is closed out. */
  get signal(): AbortSignal {
    return this.#ended.signal;
  }

  /** @throws FencedError when it is closed out, before it began or while it waited */
  async run<T>(operation: (signal: AbortSignal) => Promise<T>): Promise<T> {
    this.signal.throwIfAborted();
    const running = operation(this.signal);
    this.#in_hand.add(running);
    try {
      return await running;
    } finally {
      this.#in_hand.delete(running);
    }
  }

  /** Nothing more begins, what waits gives up; resolves when what was begun is over. */
  async end(): Promise<void> {
    this.#ended.abort(new FencedError(`generation ${this.stamp.generation} is closed out`));
    while (this.#in_hand.size > 0) await Promise.allSettled(this.#in_hand);
    this.#onEnd(this);
  }
}
