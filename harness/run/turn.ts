/** One at a time: turns are given in the order in which they were asked for. */
export class Turn {
  #last: Promise<void> = Promise.resolve();

  /**
   * Waits until everybody who asked before has given the turn back.
   * @returns what gives it back, once disposed of
   * @throws the signal's reason, once it aborts; the turn is then passed on by itself
   */
  async take(signal: AbortSignal): Promise<Disposable> {
    signal.throwIfAborted();
    const before = this.#last;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#last = promise;
    const aborted = Promise.withResolvers<never>();
    const abort = (): void => aborted.reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    try {
      await Promise.race([before, aborted.promise]);
    } catch (error) {
      void before.then(resolve);
      throw error;
    } finally {
      signal.removeEventListener("abort", abort);
    }
    return { [Symbol.dispose]: resolve };
  }
}

/**
 * Of runs that go on side by side: they carry their VMs one after the other, so that agents are not late. Meanwhile the next
 * one's VM boots and waits, other hosts start, and VMs that have arrived are looked at and taken down.
 */
export class Turns {
  /** The one whose VM boots, or waits to be carried. */
  readonly waiting = new Turn();
  /** The one whose VM is carried, until it is settled who has it. */
  readonly carrying = new Turn();
}
