import { spawn } from "node:child_process";
import type { Readable } from "node:stream";

export interface CommandOptions {
  readonly signal?: AbortSignal | undefined;
  readonly environment?: Readonly<Record<string, string>>;
  /** Every line of standard error, and of standard output unless `onOutput` takes that. */
  readonly onLine?: (line: string) => void;
  /** Takes standard output as bytes. */
  readonly onOutput?: (output: Readable) => void;
}

/** How long a program that was asked to end may take to clean up behind itself. */
const END_TIMEOUT_MS = 15_000;

/**
 * Runs a program to its end, in a process group of its own. When the signal aborts, the whole group gets SIGTERM, so
 * that it can take away its own temporary files, and the call ends when it has; SIGKILL if it does not. A signal to
 * the program alone is not enough: mmdebstrap goes on until the child that it waits for has ended.
 * @throws Error with the last lines of its output when it cannot be started or ends with another code than 0.
 */
export async function runCommand(
  program: string,
  argv: readonly string[],
  options: CommandOptions = {},
): Promise<void> {
  options.signal?.throwIfAborted();
  const child = spawn(program, argv, {
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
    env: { ...process.env, ...options.environment },
  });
  const last: string[] = [];
  const listen = (stream: Readable): void => {
    let rest = "";
    stream.setEncoding("utf8").on("data", (text: string) => {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        last.push(line);
        if (last.length > 12) last.shift();
        options.onLine?.(line);
      }
    });
  };
  listen(child.stderr);
  if (options.onOutput) options.onOutput(child.stdout);
  else listen(child.stdout);
  let harder: NodeJS.Timeout | undefined;
  const stop = (): void => {
    killGroup(child.pid, "SIGTERM");
    harder = setTimeout(() => killGroup(child.pid, "SIGKILL"), END_TIMEOUT_MS);
  };
  options.signal?.addEventListener("abort", stop, { once: true });
  try {
    const how = await new Promise<string | undefined>((resolve) => {
      child.once("error", (error) => resolve(error.message));
      child.once("close", (code, signal) => resolve(code === 0 ? undefined : `ended with ${signal ?? `code ${code}`}`));
    });
    options.signal?.throwIfAborted();
    if (how !== undefined) {
      throw new Error(`${program} ${how}${last.length > 0 ? `; last lines:\n  ${last.join("\n  ")}` : ""}`);
    }
  } finally {
    clearTimeout(harder);
    options.signal?.removeEventListener("abort", stop);
  }
}

function killGroup(pid: number | undefined, signal: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, signal);
  } catch {
    // It has ended in the meantime.
  }
}
