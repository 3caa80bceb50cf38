import { PassThrough } from "node:stream";
import type Docker from "dockerode";
import { within } from "../base/wait.ts";

const LINES_KEPT = 200;
const LINE_BYTES_MAX = 8_192;

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
    const exec = await container.exec({
      // The shell tells its pid and becomes the process, so that the pid is known inside the host's own pid namespace.
      Cmd: ["/bin/sh", "-c", 'echo "ferryman-pid $$" >&2; exec "$@"', "sh", ...argv],
      Env: Object.entries(environment).map(([name, value]) => `${name}=${value}`),
      AttachStdout: true,
      AttachStderr: true,
    });
    const stream = await exec.start({ hijack: true, stdin: false });
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
        if (self === undefined || self.#listeners.size === 0) backlog.push({ line, output });
        else for (const listener of self.#listeners) listener(line, output);
      });
    docker.modem.demuxStream(stream, sink("stdout"), sink("stderr"));
    const exited = new Promise<number | null>((resolve) => {
      const close = (): void => {
        exec.inspect().then(
          (info) => resolve(info.ExitCode ?? null),
          () => resolve(null),
        );
      };
      stream.once("end", close).once("close", close).once("error", close);
    });
    const known = await within(
      { what: `${argv[0] ?? "a process"} to start`, timeout_ms: 10_000, lastLines: () => kept },
      Promise.race([pid, exited.then((code) => Promise.reject(new Error(`${argv[0]} ended at once (${code})`)))]),
    );
    self = new HostProcess(known, exited, stream, { kept, backlog });
    return self;
  }

  get gone(): boolean {
    return this.#gone;
  }

  /** Calls back for every line of output, those already written included. */
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
    this.#stream.destroy();
  }
}

/** Cuts a byte stream into lines; a line longer than 8 KiB comes in pieces. */
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
  return output;
}
