import { PassThrough } from "node:stream";
import { finished } from "node:stream/promises";
import { setTimeout as delay } from "node:timers/promises";
import type Docker from "dockerode";
import { within } from "../base/wait.ts";
import { ENGINE_MS } from "./engine.ts";

const LINES_KEPT = 200;
const LINE_BYTES_MAX = 8_192;
/** Lines kept for a listener that has not come yet. */
const BACKLOG_LINES_MAX = 10_000;
/** How often the engine is asked about a process that closed its output. */
const ASK_INTERVAL_MS = 100;

export type OutputName = "stdout" | "stderr";

/** A process inside a host that the harness started; it dies with the host, or when it is killed. */
export class HostProcess implements Disposable {
  /** Pid inside the host. */
  readonly pid: number;
  /** Settles when the process is gone: its exit code, or null where the host went with it. */
  readonly exited: Promise<number | null>;
  readonly #stream: { destroy(): void };
  readonly #kept: string[];
  readonly #listeners = new Set<(line: string, output: OutputName) => void>();
  readonly #backlog: { line: string; output: OutputName }[];
  #gone = false;
  #disposed = false;

  private constructor(
    pid: number,
    exited: Promise<number | null>,
    stream: { destroy(): void },
    output: { kept: string[]; backlog: { line: string; output: OutputName }[] },
  ) {
    this.pid = pid;
    this.exited = exited;
    this.#stream = stream;
    this.#kept = output.kept;
    this.#backlog = output.backlog;
    void exited.then(() => {
      this.#gone = true;
    });
  }

  static async start(
    docker: Docker,
    container: Docker.Container,
    argv: readonly string[],
    environment: Readonly<Record<string, string>>,
  ): Promise<HostProcess> {
    const what = `the engine to start ${argv[0] ?? "a process"}`;
    const making = container.exec({
      // The shell tells its pid and becomes the process, so that the pid is known inside the host's own pid namespace.
      Cmd: ["/bin/sh", "-c", 'echo "ferryman-pid $$" >&2; exec "$@"', "sh", ...argv],
      Env: Object.entries(environment).map(([name, value]) => `${name}=${value}`),
      AttachStdout: true,
      AttachStderr: true,
    });
    const exec = await within({ what, timeout_ms: ENGINE_MS }, making);
    const stream = await within({ what, timeout_ms: ENGINE_MS }, exec.start({ hijack: true, stdin: false }));
    const kept: string[] = [];
    const backlog: { line: string; output: OutputName }[] = [];
    let self: HostProcess | undefined;
    let onPid: (pid: number) => void = () => undefined;
    const pid = new Promise<number>((resolve) => {
      onPid = resolve;
    });
    const sink = (output: OutputName) =>
      lines((line) => {
        const told = /^ferryman-pid (\d+)$/.exec(line);
        if (told) return onPid(Number(told[1]));
        kept.push(line);
        if (kept.length > LINES_KEPT) kept.shift();
        if (self !== undefined && self.#listeners.size > 0) {
          for (const listener of self.#listeners) listener(line, output);
          return;
        }
        backlog.push({ line, output });
        if (backlog.length > BACKLOG_LINES_MAX) backlog.shift();
      });
    const sinks = [sink("stdout"), sink("stderr")] as const;
    docker.modem.demuxStream(stream, ...sinks);
    const closed = new Promise<void>((resolve) => {
      stream.once("end", resolve).once("close", resolve).once("error", resolve);
    });
    const exited = closed.then(async () => {
      for (const output of sinks) output.end();
      await Promise.all(sinks.map((output) => finished(output)));
      return exitCode(exec, () => self?.abandoned === true);
    });
    const known = await within(
      { what: `${argv[0] ?? "a process"} to start`, timeout_ms: 10_000, lastLines: () => kept },
      Promise.race([pid, exited.then((code) => Promise.reject(new Error(`${argv[0]} ended at once (${code})`)))]),
    );
    self = new HostProcess(known, exited, stream, { kept, backlog });
    return self;
  }

  /** Whether the harness has stopped listening to it. */
  get abandoned(): boolean {
    return this.#disposed;
  }

  get gone(): boolean {
    return this.#gone;
  }

  /** Calls back for every line of output, those already written included (of very many the last 10,000). */
  onLine(listener: (line: string, output: OutputName) => void): void {
    for (const { line, output } of this.#backlog.splice(0)) listener(line, output);
    this.#listeners.add(listener);
  }

  /** The last lines it wrote. */
  lastLines(count = 12): readonly string[] {
    return this.#kept.slice(-count);
  }

  /** Stops listening to the process; it is not killed by that. */
  [Symbol.dispose](): void {
    this.#disposed = true;
    this.#stream.destroy();
  }
}

/**
 * The exit code of a process whose output has ended. That alone does not mean that it has: a process may close its
 * output and live on, and the engine notes the end of a process a little after that of its output.
 */
async function exitCode(exec: Docker.Exec, abandoned: () => boolean): Promise<number | null> {
  for (;;) {
    try {
      const { Running, ExitCode } = await exec.inspect();
      if (!Running || abandoned()) return ExitCode ?? null;
    } catch {
      return null;
    }
    // Unreferenced: a process that runs on for ever does not keep the harness from ending.
    await delay(ASK_INTERVAL_MS, undefined, { ref: false });
  }
}

/** Cuts a byte stream into lines; a line longer than 8 KiB comes in pieces, the last one may do without an end. */
function lines(onLine: (line: string) => void): PassThrough {
  let rest = "";
  const output = new PassThrough();
  output.setEncoding("utf8");
  output.on("data", (text: string) => {
    const parts = (rest + text).split("\n");
    rest = parts.pop() ?? "";
    for (const part of parts) onLine(part.replace(/\r$/, ""));
    if (rest.length > LINE_BYTES_MAX) {
      onLine(rest);
      rest = "";
    }
  });
  output.on("end", () => {
    if (rest !== "") onLine(rest.replace(/\r$/, ""));
  });
  return output;
}
