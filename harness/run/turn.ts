/**
 * One at a time: runs that are set up side by side carry their VMs one after the other, so that a run's migration has the
 * machine's processors while another's hosts start or are taken down. Turns are given in the order in which they were asked
 * for.
 */
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
