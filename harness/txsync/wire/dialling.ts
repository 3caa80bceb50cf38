/** So long after a connection has ended it is dialled anew. */
export const REDIAL_MS = 50;
/** A connection in the making has at most eight times the patience: a machine that is that busy gets there. */
const IN_VAIN_MOST = 3;

/**
 * How long an agent believes in the connection that it has dialled to a peer. What was said while nothing came through may be
 * lost for good, and nobody else need notice: the peer may be heard, by another one. Has no clock: it is told the time.
 */
export class Dialling {
  readonly #patience_ms: number;
  #dialled_ms = 0;
  /** Connections one after the other that led nowhere: each next one has twice the time. */
  #in_vain = 0;

  constructor(patience_ms: number) {
    this.#patience_ms = patience_ms;
  }

  /** One is dialled. @returns what it has until it leads somewhere, or is given up */
  dialled(now_ms: number): number {
    this.#dialled_ms = now_ms;
    return this.#patience_ms * 2 ** Math.min(this.#in_vain, IN_VAIN_MOST);
  }

  /** It leads to the peer. */
  isUp(): void {
    this.#in_vain = 0;
  }

  /** The peer is heard again: that those before it led nowhere was the link's doing. */
  heardAgain(): void {
    this.#in_vain = 0;
  }

  /** Its time is over, and it leads nowhere. */
  ledNowhere(): void {
    this.#in_vain += 1;
  }

  /** The peer is not heard. @returns whether the present one has had its time, up or not */
  isOld(now_ms: number): boolean {
    return now_ms - this.#dialled_ms >= this.#patience_ms;
  }
}
