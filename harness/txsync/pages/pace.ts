import type { AskedRun } from "./asked-pages.ts";

/** However slow a link was, nothing of it is lost that is not asked for again after twice this time. */
export const SERVED_AFTER_MS_MAX = 500;
/** So much of what was learnt of a link is left with each answer that comes sooner. */
const SERVED_AFTER_KEPT = 0.9;

/**
 * What of the background is only late, and what is lost. It is served in the order in which it was asked for, as fast as the
 * link is: what was asked for again because it is late comes twice, and the rest later still, until next to nothing new comes.
 */
export class Pace {
  readonly #retry_ms: number;
  /** When an answer came last, and the longest time between two, lately. */
  #served_ms = Number.NEGATIVE_INFINITY;
  #served_after_ms = 0;
  /** When the latest of what was answered had been asked for. */
  #served_up_to_ms = Number.NEGATIVE_INFINITY;
  /** When something was last given up because nothing came. */
  #silent_ms = Number.NEGATIVE_INFINITY;

  constructor(retry_ms: number) {
    this.#retry_ms = retry_ms;
  }

  /**
   * An answer came. @param run that asked for it; undefined where that was given up, and it may have come twice
   * @param full_pages of it that are not all zeros: what has next to no bytes goes another way than the rest, or overtakes it
   */
  served(run: AskedRun | undefined, full_pages: number, now_ms: number): void {
    // One page of nobody's is what somebody waited for, and was asked of two.
    if (run?.urgent === true || full_pages < (run === undefined ? 2 : 1)) return;
    if (now_ms > this.#served_ms) {
      // Of the first there is nothing else to go by. What is asked for again seems to be answered sooner than it is.
      const from_ms = Number.isFinite(this.#served_ms) ? this.#served_ms : (run?.at_ms ?? now_ms);
      const after_ms = Math.min(now_ms - from_ms, SERVED_AFTER_MS_MAX);
      this.#served_after_ms = Math.max(after_ms, SERVED_AFTER_KEPT * this.#served_after_ms);
      this.#served_ms = now_ms;
    }
    if (run !== undefined && full_pages > 1) this.#served_up_to_ms = Math.max(this.#served_up_to_ms, run.at_ms);
  }

  /** Something that was asked for later has come, and not this. */
  isOvertaken(run: AskedRun): boolean {
    return run.count > 1 && run.at_ms < this.#served_up_to_ms;
  }

  isLate(run: AskedRun, now_ms: number): boolean {
    const patience_ms = Math.max(this.#retry_ms, 2 * this.#served_after_ms);
    return !this.isOvertaken(run) && now_ms - Math.max(this.#served_ms, this.#silent_ms) < patience_ms;
  }

  /** Something is given up because nothing has come: of a link that has not answered yet nobody knows how slow it is. */
  gaveUp(now_ms: number): void {
    this.#silent_ms = now_ms;
    const doubled_ms = Math.max(2 * this.#served_after_ms, this.#retry_ms / 2);
    this.#served_after_ms = Math.min(doubled_ms, SERVED_AFTER_MS_MAX);
  }

  /** Somebody else serves from now on. */
  forgetOrder(): void {
    this.#served_up_to_ms = Number.NEGATIVE_INFINITY;
    this.#silent_ms = Number.NEGATIVE_INFINITY;
  }
}
