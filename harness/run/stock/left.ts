/**
 * What a source says is left to send. It goes up where the guest's writes are looked for (a pass that begins, switchover) and
 * where a recovery finds what did not arrive; whenever it goes down something has moved, however much more it once was less.
 */
export class Left {
  #bytes = Number.POSITIVE_INFINITY;
  /** When it last went down, by the clock of whoever says it. */
  at_ms = 0;

  /** @returns whether something has moved */
  said(bytes: number, now_ms: number): boolean {
    const moved = bytes < this.#bytes;
    this.#bytes = bytes;
    if (moved) this.at_ms = now_ms;
    return moved;
  }
}
