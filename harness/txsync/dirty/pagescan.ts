import { spawn } from "node:child_process";
import type { Readable, Writable } from "node:stream";
import { within } from "../../base/wait.ts";
import { ByteQueue } from "./byte-queue.ts";

/** What pagescan could not do. `untracked`: the quick way does not work here, or not any more. */
export class PagescanError extends Error {
  override readonly name = "PagescanError";
  readonly reason: "usage" | "untracked" | "io" | "gone";

  constructor(reason: PagescanError["reason"], text: string) {
    super(`pagescan: ${text}`);
    this.reason = reason;
  }
}

/**
 * What a thread is sure to get of a processor, whatever else its machine does (SCHED_DEADLINE, sched(7);
 * fixtures/native/pagescan/first.c). A nice value alone counts only among the threads of one control group, and makes
 * those of the same group on other processors wait: it is what is left where the kernel promises nothing.
 */
export interface Budget {
  readonly runtime_us: number;
  readonly period_us: number;
}

export interface PagescanAnswer {
  readonly fields: Readonly<Record<string, number>>;
  readonly binary: Buffer;
}

interface Pending {
  readonly resolve: (answer: PagescanAnswer) => void;
  readonly reject: (error: Error) => void;
}

/** An answer's binary part is never larger than this: runs of pages, 12 bytes each. */
const BINARY_BYTES_MAX = 2 ** 30;
const LINE_BYTES_MAX = 16_384;
/** A helper that hangs, while a guest stands still for it perhaps. */
export const ANSWER_MS = 10_000;

/**
 * The native helper (fixtures/native/pagescan) that finds and copies pages: one request after the other, each with one
 * answer. Its protocol stands in its main.c.
 */
export class Pagescan implements AsyncDisposable {
  readonly #stdin: Writable;
  readonly #queue = new ByteQueue();
  readonly #pending: Pending[] = [];
  readonly #kill: () => void;
  #binary_fields: Readonly<Record<string, number>> | undefined;
  #binary_bytes = 0;
  #gone: PagescanError | undefined;

  private constructor(stdin: Writable, stdout: Readable, kill: () => void) {
    this.#stdin = stdin;
    this.#kill = kill;
    stdin.on("error", () => this.#fail("its input is closed"));
    stdout.on("data", (chunk: Buffer) => {
      this.#queue.push(chunk);
      this.#read();
    });
    stdout.on("close", () => this.#fail("it has ended"));
    stdout.on("error", (error) => this.#fail(error.message));
  }

  /** Starts the helper. */
  static start(program: string): Pagescan {
    const child = spawn(program, [], { stdio: ["pipe", "pipe", "inherit"] });
    const client = new Pagescan(child.stdin, child.stdout, () => child.kill("SIGKILL"));
    child.on("error", (error) => client.#fail(`${program} does not start: ${error.message}`));
    return client;
  }

  get gone(): boolean {
    return this.#gone !== undefined;
  }

  /**
   * @param timeout_ms bounds the answer; what goes through all of memory takes longer than the default
   * @throws PagescanError; WaitTimeoutError, after which the helper is ended.
   */
  async request(line: string, payload?: Uint8Array, timeout_ms = ANSWER_MS): Promise<PagescanAnswer> {
    if (this.#gone) throw this.#gone;
    const { promise, resolve, reject } = Promise.withResolvers<PagescanAnswer>();
    this.#pending.push({ resolve, reject });
    this.#stdin.write(`${line}\n`);
    if (payload) this.#stdin.write(payload);
    try {
      return await within({ what: `pagescan to answer "${line}"`, timeout_ms }, promise);
    } catch (error) {
      // An answer that comes too late would be taken for the next one's.
      if (!(error instanceof PagescanError)) this.#fail("it did not answer in time");
      throw error;
    }
  }

  #read(): void {
    for (;;) {
      if (this.#binary_fields !== undefined) {
        const binary = this.#queue.take(this.#binary_bytes);
        if (binary === undefined) return;
        const fields = this.#binary_fields;
        this.#binary_fields = undefined;
        this.#pending.shift()?.resolve({ fields, binary });
        continue;
      }
      const line = this.#queue.takeLine(LINE_BYTES_MAX);
      if (line === undefined) return;
      if (line === "too-long" || !this.#readLine(line)) {
        this.#fail("its answer is garbage");
        return;
      }
    }
  }

  #readLine(line: string): boolean {
    const [word, ...rest] = line.split(" ");
    if (word === "err") {
      const [reason, ...text] = rest;
      if (reason !== "usage" && reason !== "untracked" && reason !== "io") return false;
      this.#pending.shift()?.reject(new PagescanError(reason, text.join(" ")));
      return true;
    }
    if (word !== "ok") return false;
    const fields: Record<string, number> = {};
    for (const part of rest) {
      const [name = "", value = ""] = part.split("=");
      fields[name] = Number(value);
    }
    const bytes = fields["bytes"] ?? 0;
    if (!(bytes >= 0 && bytes <= BINARY_BYTES_MAX)) return false;
    if (bytes === 0) this.#pending.shift()?.resolve({ fields, binary: Buffer.alloc(0) });
    else [this.#binary_fields, this.#binary_bytes] = [fields, bytes];
    return true;
  }

  #fail(why: string): void {
    this.#gone ??= new PagescanError("gone", why);
    for (const { reject } of this.#pending.splice(0)) reject(this.#gone);
    this.#kill();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#fail("it was ended");
  }
}
