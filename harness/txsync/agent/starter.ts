import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync } from "node:fs";
import { promisify } from "node:util";
import { exitOf, goWithTheOthers } from "./process.ts";

/** A process that was started. Settles when it has ended. */
export interface Started {
  readonly pid: number;
  readonly exited: Promise<void>;
}

export interface LongLived {
  readonly file: string;
  readonly args: readonly string[];
  /** File that its standard output and error are added to. */
  readonly log: string;
  /** Beside the agent's own. */
  readonly env: Readonly<Record<string, string>>;
}

/** Who starts processes. */
export interface Starter {
  /** Starts a program and waits for its end. @throws Error where it fails, or takes longer than `timeout_ms` */
  run(file: string, args: readonly string[], timeout_ms: number): Promise<void>;
  /** Starts a program that outlives its agent. @throws Error where it cannot be started */
  start(what: LongLived): Promise<Started>;
}

/**
 * Starts a program that outlives its agent, in the calling thread. One that cannot be started is told by the child's `error`.
 * @throws Error where its log cannot be written
 */
export function spawnApart({ file, args, log, env }: LongLived): ChildProcess {
  const out = openSync(log, "a");
  const child = (() => {
    try {
      return spawn(file, [...args], {
        detached: true,
        stdio: ["ignore", out, out],
        env: { ...process.env, ...env },
      });
    } finally {
      closeSync(out);
    }
  })();
  if (child.pid !== undefined) goWithTheOthers(child.pid);
  child.unref();
  return child;
}

/**
 * Starts them in the calling thread, which stands still meanwhile: until the child has got a processor, and has become
 * the program (libuv: src/unix/process.c, uv_spawn). Beside busy vCPUs that was seen to take up to 40 ms.
 */
export const startHere: Starter = {
  async run(file, args, timeout_ms) {
    await promisify(execFile)(file, [...args], { timeout: timeout_ms });
  },
  async start(what) {
    const child = spawnApart(what);
    await once(child, "spawn");
    return { pid: child.pid ?? -1, exited: exitOf(child) };
  },
};
