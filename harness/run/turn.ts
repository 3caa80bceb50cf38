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
 * Of runs that are set up side by side: they carry their VMs one after the other, so that a migration has the machine's
 * processors but for hosts that start or are taken down. The next VM boots while the one that has arrived is looked at, and
 * neither beside a migration: a VM that booted there has made agents late enough to lose the other.
 */
export class Turns {
  /** From boot until it is settled who has the VM. */
  readonly vm = new Turn();
  /** From the migration until all has been looked at. */
  readonly processors = new Turn();
}
