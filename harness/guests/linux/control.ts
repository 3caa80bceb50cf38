import type { Duplex } from "node:stream";
import { within } from "../../base/wait.ts";
import { readCount, readFields } from "./console.ts";

/** Answer to `hello`: how far the guest is, asked for rather than waited for. */
export interface LinuxGuestState {
  /** Page rewrites since boot. */
  readonly n: number;
  readonly errors: number;
  readonly checked: number;
  readonly uptime_ms: number;
}

/** Answer to `verify`: every page of the pattern was compared with the version table. */
export interface LinuxGuestVerification {
  readonly pages: number;
  readonly bad: number;
  readonly first_bad: number | undefined;
  /** All errors since boot, those of the other parts (pipes, stacks, files, ...) included. */
  readonly errors: number;
  readonly n: number;
}

/** Answer to `disks`: every disk's worker has finished and let go of it. */
export interface LinuxGuestDisks {
  /** How many records were written to each disk, in its order. */
  readonly records: readonly number[];
  /** As in `verify`. */
  readonly errors: number;
}

export interface LinuxControlOptions {
  readonly timeout_ms: number;
  readonly signal?: AbortSignal;
}

const LINE_BYTES_MAX = 512;
const LAST_LINES = 5;

/**
 * Speaks the guest's control line (ttyS1, `fixtures/guests/linux/src/control.c`) over a stream that is already
 * connected: one command after the other. Each command has a number which its answer repeats, so an answer that
 * comes after its time-out is not taken for the answer to a later command. Does not own the stream.
 */
export class LinuxControl implements Disposable {
  readonly #stream: Duplex;
  readonly #waiting = new Map<number, { resolve(line: string): void; reject(error: Error): void }>();
  readonly #last: string[] = [];
  #partial = "";
  #id = 0;
  #gone: Error | undefined;
  #queue: Promise<unknown> = Promise.resolve();

  constructor(stream: Duplex) {
    this.#stream = stream;
    stream.on("data", this.#onData).on("close", this.#onClose).on("end", this.#onClose).on("error", this.#onError);
  }

  /** @throws WaitTimeoutError when no answer came in time; Error when the line was closed or the guest refused. */
  async hello(options: LinuxControlOptions): Promise<LinuxGuestState> {
    const line = await this.#ask("hello", "state", options);
    const fields = readFields(line);
    return {
      n: count(fields, "n", line),
      errors: count(fields, "errors", line),
      checked: count(fields, "checked", line),
      uptime_ms: count(fields, "uptime", line),
    };
  }

  /** Takes about 3 ms per 1000 pages under TCG. @throws as `hello` */
  async verify(options: LinuxControlOptions): Promise<LinuxGuestVerification> {
    const line = await this.#ask("verify", "verified", options);
    const fields = readFields(line);
    return {
      pages: count(fields, "pages", line),
      bad: count(fields, "bad", line),
      first_bad: fields["first"] === "none" ? undefined : count(fields, "first", line),
      errors: count(fields, "errors", line),
      n: count(fields, "n", line),
    };
  }

  /** The guest stops working on its disks, for good, and tells how far each got. @throws as `hello` */
  async disks(options: LinuxControlOptions): Promise<LinuxGuestDisks> {
    const line = await this.#ask("disks", "disks", options);
    const fields = readFields(line);
    const records: number[] = [];
    while (fields[`disk${records.length}`] !== undefined) records.push(count(fields, `disk${records.length}`, line));
    return { records, errors: count(fields, "errors", line) };
  }

  [Symbol.dispose](): void {
    this.#stream.off("data", this.#onData).off("close", this.#onClose).off("end", this.#onClose);
    // The error listener stays: an error of a stream nobody listens to ends the process.
    this.#fail(new Error("the guest's control line is no longer used"));
  }

  #ask(command: string, answer: string, options: LinuxControlOptions): Promise<string> {
    const turn = this.#queue.then(async () => {
      options.signal?.throwIfAborted();
      if (this.#gone) throw this.#gone;
      const id = ++this.#id;
      const answered = new Promise<string>((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
      answered.catch(() => undefined);
      // The first line end closes whatever half a command an earlier client has left in the guest's buffer.
      this.#stream.write(`\n${command} id=${id}\n`);
      try {
        const line = await within(
          {
            what: `the Linux guest to answer ${command} on its control line`,
            timeout_ms: options.timeout_ms,
            signal: options.signal,
            lastLines: () => this.#last,
          },
          answered,
        );
        if (!line.startsWith(`${answer} `)) throw new Error(`the Linux guest refused ${command}: ${line}`);
        return line;
      } finally {
        this.#waiting.delete(id);
      }
    });
    this.#queue = turn.catch(() => undefined);
    return turn;
  }

  readonly #onData = (chunk: Buffer | string): void => {
    this.#partial += typeof chunk === "string" ? chunk : chunk.toString("latin1");
    const lines = this.#partial.split("\n");
    this.#partial = (lines.pop() ?? "").slice(-LINE_BYTES_MAX);
    for (const raw of lines) {
      const line = raw.replace(/\r$/, "").slice(-LINE_BYTES_MAX);
      if (line === "") continue;
      this.#last.push(line);
      if (this.#last.length > LAST_LINES) this.#last.shift();
      if (!/^(?:state|verified|disks|error) /.test(line)) continue;
      const id = readCount(readFields(line)["id"]);
      if (id !== undefined) this.#waiting.get(id)?.resolve(line);
    }
  };

  readonly #onClose = (): void => this.#fail(new Error("the Linux guest's control line was closed"));
  readonly #onError = (error: Error): void =>
    this.#fail(new Error(`the Linux guest's control line failed: ${error.message}`, { cause: error }));

  #fail(error: Error): void {
    this.#gone ??= error;
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }
}

function count(fields: Readonly<Record<string, string>>, name: string, line: string): number {
  const value = readCount(fields[name]);
  if (value === undefined) throw new Error(`the Linux guest's answer has no number ${name}: ${JSON.stringify(line)}`);
  return value;
}
