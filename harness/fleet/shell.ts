import type { Duplex } from "node:stream";
import { PassThrough } from "node:stream";
import type Docker from "dockerode";
import { within } from "../base/wait.ts";
import { ENGINE_MS } from "./engine.ts";

/** So much of a command is told when it fails: what comes after may be nobody's business. */
const COMMAND_SHOWN = 80;
const MARK = "--ferryman-done--";

/**
 * A shell that stays open inside a host, so that a fault lands within a millisecond or two instead of the tenth of a
 * second that a new `docker exec` takes. Commands run one after the other.
 */
export class HostShell implements Disposable {
  readonly #stream: Duplex;
  readonly #name: string;
  #buffer = "";
  #waiting:
    | { turn: number; resolve: (reply: { code: number; output: string }) => void; reject: (error: Error) => void }
    | undefined;
  #turn = 0;
  #queue: Promise<unknown> = Promise.resolve();
  #closed: Error | undefined;

  private constructor(name: string, stream: Duplex, output: PassThrough) {
    this.#name = name;
    this.#stream = stream;
    output.setEncoding("utf8");
    output.on("data", (text: string) => this.#onOutput(text));
    const close = (): void => this.#onClose();
    stream.on("close", close).on("end", close).on("error", close);
  }

  static async open(docker: Docker, container: Docker.Container, name: string): Promise<HostShell> {
    const opening = container
      .exec({ Cmd: ["/bin/sh"], AttachStdin: true, AttachStdout: true, AttachStderr: true })
      .then((exec) => exec.start({ hijack: true, stdin: true }));
    const stream = await within({ what: `the engine to open a shell on ${name}`, timeout_ms: ENGINE_MS }, opening);
    const output = new PassThrough();
    docker.modem.demuxStream(stream, output, output);
    const shell = new HostShell(name, stream, output);
    await shell.run("true");
    return shell;
  }

  /**
   * Runs one command line, in a subshell of its own, and returns what it printed (both streams).
   * @throws Error when it exits non-zero, with its output; WaitTimeoutError when the host does not answer.
   */
  async run(command: string, timeout_ms = 5_000): Promise<string> {
    const turn = this.#queue.then(() => this.#send(command, timeout_ms));
    this.#queue = turn.catch(() => undefined);
    const { code, output } = await turn;
    if (code !== 0) throw new Error(`on ${this.#name}: "${shown(command)}" ended with code ${code}: ${output.trim()}`);
    return output;
  }

  async #send(command: string, timeout_ms: number): Promise<{ code: number; output: string }> {
    if (this.#closed) throw this.#closed;
    const turn = ++this.#turn;
    const reply = new Promise<{ code: number; output: string }>((resolve, reject) => {
      this.#waiting = { turn, resolve, reject };
    });
    // Quoted whole and evaluated in a subshell, so that neither `exit` nor a quote left open costs the shell itself.
    const quoted = `'${command.replaceAll("'", "'\\''")}'`;
    this.#stream.write(`( eval ${quoted} ) </dev/null 2>&1; echo "${MARK}${turn} $?"\n`);
    return within({ what: `the shell on ${this.#name} to run "${shown(command)}"`, timeout_ms }, reply);
  }

  #onOutput(text: string): void {
    this.#buffer += text;
    for (;;) {
      const match = new RegExp(`${MARK}(\\d+) (\\d+)\n`).exec(this.#buffer);
      if (!match) return;
      const output = this.#buffer.slice(0, match.index);
      this.#buffer = this.#buffer.slice(match.index + match[0].length);
      // The answer to a command whose wait ran out comes late: it belongs to nobody any more.
      if (this.#waiting?.turn !== Number(match[1])) continue;
      const waiting = this.#waiting;
      this.#waiting = undefined;
      waiting.resolve({ code: Number(match[2]), output });
    }
  }

  #onClose(): void {
    this.#closed ??= new Error(`the shell on ${this.#name} is gone`);
    this.#waiting?.reject(this.#closed);
    this.#waiting = undefined;
  }

  [Symbol.dispose](): void {
    this.#stream.destroy();
    this.#onClose();
  }
}

function shown(command: string): string {
  return command.length > COMMAND_SHOWN ? `${command.slice(0, COMMAND_SHOWN - 1)}…` : command;
}
