/** Lets so many lines through in so much time, and says how many it kept: a port scanner must not fill a log. */
export class LogLimit {
  readonly #lines: number;
  readonly #per_ms: number;
  #since_ms = Number.NEGATIVE_INFINITY;
  #said = 0;
  #kept = 0;

  constructor(options: { readonly lines: number; readonly per_ms: number }) {
    this.#lines = options.lines;
    this.#per_ms = options.per_ms;
  }

  /** @returns the line as it may be said now, or `null`. */
  say(line: string, now_ms: number): string | null {
    if (now_ms - this.#since_ms >= this.#per_ms) {
      this.#since_ms = now_ms;
      this.#said = 0;
    }
    if (this.#said >= this.#lines) {
      this.#kept += 1;
      return null;
    }
    this.#said += 1;
    const kept = this.#kept;
    this.#kept = 0;
    return kept === 0 ? line : `${line} (and ${kept} lines like it before)`;
  }
}
