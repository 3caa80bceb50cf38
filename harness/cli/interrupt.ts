/** Exit code of a command that was ended by Ctrl-C, as a shell reports it. */
const EXIT_INTERRUPTED = 130;

/**
 * Runs a command so that Ctrl-C and SIGTERM end it in an orderly way: the signal aborts, the command takes down what
 * it started, and only then the process ends. A second Ctrl-C changes nothing: what is left is removed by the next start.
 */
export async function interruptible(command: (signal: AbortSignal) => Promise<void>): Promise<void> {
  const abort = new AbortController();
  const onSignal = (): void => {
    if (abort.signal.aborted) return;
    process.stderr.write("\nferryman: ending, everything is being taken down …\n");
    abort.abort(new Error("interrupted"));
  };
  process.on("SIGINT", onSignal).on("SIGTERM", onSignal);
  try {
    await command(abort.signal);
  } catch (error) {
    if (!abort.signal.aborted) throw error;
  } finally {
    process.off("SIGINT", onSignal).off("SIGTERM", onSignal);
  }
  if (abort.signal.aborted) process.exitCode = EXIT_INTERRUPTED;
}
