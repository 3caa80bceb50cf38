/**
 * An error for a person: one clear sentence that says what was tried, on what, what came back and what to do.
 * The command line prints its message without a stack trace. `exitCode` 2 means wrong usage or environment.
 */
export class UserError extends Error {
  readonly exitCode = 2;
  override readonly name = "UserError";
}

/** A bounded wait ran out. The message names what was awaited, for how long, and the last lines of the logs given. */
export class WaitTimeoutError extends Error {
  override readonly name = "WaitTimeoutError";
  readonly awaited: string;
  readonly timeout_ms: number;

  constructor(awaited: string, timeout_ms: number, lastLines: readonly string[] = []) {
    super(`waited ${timeout_ms} ms for ${awaited}, in vain${tailOf(lastLines)}`);
    this.awaited = awaited;
    this.timeout_ms = timeout_ms;
  }
}

/** A wait that lasts as long as something moves was given up. `why` says what did, and for how long nothing has. */
export class NothingMovesError extends Error {
  override readonly name = "NothingMovesError";
  readonly awaited: string;

  constructor(awaited: string, why: string, lastLines: readonly string[] = []) {
    super(`gave up waiting for ${awaited}: ${why}${tailOf(lastLines)}`);
    this.awaited = awaited;
  }
}

function tailOf(lines: readonly string[]): string {
  return lines.length > 0 ? `\nlast lines:\n${lines.map((line) => `  ${line}`).join("\n")}` : "";
}

/** The message of anything that was thrown. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
