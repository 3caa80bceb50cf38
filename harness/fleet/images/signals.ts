/**
 * A signal that aborts when the caller's does, or when the process is told to end. The process then ends when it is
 * disposed of, so that what was under way could be taken away first, unless somebody else listens and decides.
 */
export function endOnSignals(outer: AbortSignal | undefined): Disposable & { readonly signal: AbortSignal } {
  const told = new AbortController();
  let by: NodeJS.Signals | undefined;
  const onSignal = (name: NodeJS.Signals): void => {
    by = name;
    told.abort(new Error(`ended by ${name}`));
  };
  process.on("SIGINT", onSignal).on("SIGTERM", onSignal);
  return {
    signal: outer ? AbortSignal.any([outer, told.signal]) : told.signal,
    [Symbol.dispose]: () => {
      process.off("SIGINT", onSignal).off("SIGTERM", onSignal);
      if (by !== undefined && process.listenerCount(by) === 0) process.kill(process.pid, by);
    },
  };
}
