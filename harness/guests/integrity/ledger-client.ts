import type { Duplex } from "node:stream";
import {
  ANSWER_BIT,
  encodeFrame,
  FRAME_VERSION,
  type Frame,
  FrameDecoder,
  KIND_REFUSED,
  REFUSALS,
  REQUEST_KINDS,
  type RequestName,
} from "./ledger-frames.ts";

/** Nobody can know whether the guest did it: no answer came in time, or the connection closed. Never means "failed". */
export class LedgerUnknownError extends Error {
  override readonly name = "LedgerUnknownError";
  readonly operation: RequestName;
  readonly client_seq: number;

  constructor(operation: RequestName, client_seq: number, why: string) {
    super(`ledger ${operation} (number ${client_seq}): outcome unknown, ${why}`);
    this.operation = operation;
    this.client_seq = client_seq;
  }
}

/** The guest answered that it did not do it. */
export class LedgerRefusedError extends Error {
  override readonly name = "LedgerRefusedError";
  readonly operation: RequestName;
  readonly client_seq: number;
  readonly code: number;

  constructor(operation: RequestName, client_seq: number, code: number) {
    super(`ledger ${operation} (number ${client_seq}): refused, ${REFUSALS[code] ?? `code ${code}`}`);
    this.operation = operation;
    this.client_seq = client_seq;
    this.code = code;
  }
}

/** Every answer carries the guest's running number; it grows by one with each answer of one incarnation. */
export interface Answered {
  readonly client_seq: number;
  readonly guest_seq: number;
}
export interface AppendAnswer extends Answered {
  readonly index: number;
}
export type ReadAnswer = Answered &
  (
    | { readonly present: true; readonly value: number; readonly client: number; readonly append_seq: number }
    | { readonly present: false }
  );
export interface LengthAnswer extends Answered {
  readonly length: number;
}
export interface HelloAnswer extends Answered {
  readonly steps_done: number;
  readonly errors: number;
  readonly ledger_length: number;
  readonly boot_id: number;
  readonly boot_count: number;
  readonly seed: number;
  readonly pages: number;
  readonly first_address: number;
  readonly rate: number;
  readonly uptime_ms: number;
  readonly cpus: number;
  readonly version: number;
}
export interface VerifyAnswer extends Answered {
  readonly pages_checked: number;
  readonly bad_count: number;
  readonly first_bad?: {
    readonly page: number;
    readonly expected_step: number;
    readonly word: number;
    readonly expected: number;
    readonly found: number;
  };
}

export interface LedgerClientOptions {
  /** Who we are, 32 bits; one client id and number name one append for ever. */
  readonly client: number;
  /** Number of the first operation, default 1: a client that reconnects goes on counting. */
  readonly first_seq?: number;
  /** How long an operation may take when it does not say otherwise, default 2000. */
  readonly timeout_ms?: number;
}

export interface OperationOptions {
  readonly timeout_ms?: number;
  /** Number of an earlier append whose outcome is unknown: the guest does it at most once. */
  readonly client_seq?: number;
  readonly cpu?: number;
}

interface Pending {
  readonly operation: RequestName;
  readonly resolve: (frame: Frame) => void;
  readonly reject: (error: Error) => void;
  readonly timer: NodeJS.Timeout;
}

/**
 * Speaks the ledger protocol over a byte stream (the guest's COM2). Never retries: whoever calls decides. Operations
 * reject with LedgerUnknownError on time-out or when the stream ends, with LedgerRefusedError when the guest refuses.
 */
export class LedgerClient {
  private readonly stream: Duplex;
  private readonly client: number;
  private readonly timeout_ms: number;
  private readonly decoder = new FrameDecoder();
  private readonly pending = new Map<number, Pending>();
  private next_seq: number;
  private guest_seq_seen = 0;
  private closed_why: string | undefined;
  private stray = 0;

  constructor(stream: Duplex, options: LedgerClientOptions) {
    this.stream = stream;
    this.client = options.client >>> 0;
    this.next_seq = options.first_seq ?? 1;
    this.timeout_ms = options.timeout_ms ?? 2000;
    stream.on("data", this.onData);
    stream.on("error", this.onError);
    stream.on("end", this.onEnd);
    stream.on("close", this.onEnd);
  }

  /** The number that the next operation will get. */
  get nextSeq(): number {
    return this.next_seq;
  }
  /** Bytes on the line that belonged to no frame. */
  get skipped_bytes(): number {
    return this.decoder.skipped_bytes;
  }
  /** Frames that answered nothing that was still asked: late answers, or another client's. */
  get stray_frames(): number {
    return this.stray;
  }

  /** Appends a 32-bit value. The same `client_seq` with the same value gives the same index again. */
  async append(value: number, options: OperationOptions = {}): Promise<AppendAnswer> {
    const [answer, words] = await this.ask("append", [value >>> 0], 1, options);
    return { ...answer, index: words(0) };
  }

  /** The entry at an index, with the append that made it, or `present: false`. */
  async read(index: number, options: OperationOptions = {}): Promise<ReadAnswer> {
    const [answer, words] = await this.ask("read", [index], 4, options);
    if (words(0) === 0) return { ...answer, present: false };
    return { ...answer, present: true, value: words(1), client: words(2), append_seq: words(3) };
  }

  async length(options: OperationOptions = {}): Promise<LengthAnswer> {
    const [answer, words] = await this.ask("length", [], 1, options);
    return { ...answer, length: words(0) };
  }

  async hello(options: OperationOptions = {}): Promise<HelloAnswer> {
    const [answer, words] = await this.ask("hello", [], 12, options);
    return {
      ...answer,
      steps_done: words(0),
      errors: words(1),
      ledger_length: words(2),
      boot_id: words(3),
      boot_count: words(4),
      seed: words(5),
      pages: words(6),
      first_address: words(7),
      rate: words(8),
      uptime_ms: words(9),
      cpus: words(10),
      version: words(11),
    };
  }

  /** The guest checks all its pages (or a range of them), and does nothing else meanwhile: give it time. */
  async verify(
    options: OperationOptions & { readonly first_page?: number; readonly pages?: number } = {},
  ): Promise<VerifyAnswer> {
    const range = options.pages === undefined ? [] : [options.first_page ?? 0, options.pages];
    const [answer, words] = await this.ask("verify", range, 7, options);
    const [pages_checked, bad_count] = [words(0), words(1)];
    if (bad_count === 0) return { ...answer, pages_checked, bad_count };
    const first_bad = {
      page: words(2),
      expected_step: words(3),
      word: words(4),
      expected: words(5),
      found: words(6),
    };
    return { ...answer, pages_checked, bad_count, first_bad };
  }

  /** Resets the virtual machine; the guest answers first. */
  async reset(options: OperationOptions = {}): Promise<Answered> {
    return (await this.ask("reset", [], 0, options))[0];
  }

  /** Ends the client, and the stream. What is still asked becomes unknown. */
  close(): void {
    this.end("this client was closed");
    this.stream.destroy();
  }

  private async ask(
    operation: RequestName,
    payload: readonly number[],
    answer_words: number,
    options: OperationOptions,
  ): Promise<[Answered, (i: number) => number]> {
    const client_seq = options.client_seq ?? this.next_seq++;
    if (client_seq >= this.next_seq) this.next_seq = client_seq + 1;
    if (this.closed_why !== undefined) throw new LedgerUnknownError(operation, client_seq, this.closed_why);
    if (this.pending.has(client_seq)) throw new RangeError(`ledger operation ${client_seq} is still under way`);
    const timeout_ms = options.timeout_ms ?? this.timeout_ms;
    const frame = await new Promise<Frame>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.pending.delete(client_seq);
        reject(new LedgerUnknownError(operation, client_seq, `no answer within ${timeout_ms} ms`));
      }, timeout_ms);
      this.pending.set(client_seq, { operation, resolve, reject, timer });
      this.stream.write(
        encodeFrame({
          version: FRAME_VERSION,
          kind: REQUEST_KINDS[operation],
          cpu: options.cpu ?? 0,
          client: this.client,
          client_seq,
          guest_seq: this.guest_seq_seen,
          payload,
        }),
      );
    });
    if (frame.kind === KIND_REFUSED) throw new LedgerRefusedError(operation, client_seq, frame.payload[0] ?? 0);
    if (frame.payload.length !== answer_words) {
      const why = `the answer has ${frame.payload.length} words, ${answer_words} expected`;
      throw new LedgerUnknownError(operation, client_seq, why);
    }
    return [{ client_seq, guest_seq: frame.guest_seq }, (i) => frame.payload[i] ?? 0];
  }

  private readonly onData = (bytes: Uint8Array): void => {
    for (const frame of this.decoder.push(bytes)) {
      const waiting = this.pending.get(frame.client_seq);
      const fits =
        waiting !== undefined &&
        frame.client === this.client &&
        (frame.kind === (REQUEST_KINDS[waiting.operation] | ANSWER_BIT) ||
          (frame.kind === KIND_REFUSED && frame.payload[1] === REQUEST_KINDS[waiting.operation]));
      if (!fits) {
        this.stray++;
        continue;
      }
      this.guest_seq_seen = frame.guest_seq;
      this.pending.delete(frame.client_seq);
      clearTimeout(waiting.timer);
      waiting.resolve(frame);
    }
  };

  private readonly onError = (error: Error): void => this.end(`the connection broke: ${error.message}`);
  private readonly onEnd = (): void => this.end("the connection was closed");

  private end(why: string): void {
    if (this.closed_why !== undefined) return;
    this.closed_why = why;
    for (const [client_seq, { operation, reject, timer }] of this.pending) {
      clearTimeout(timer);
      reject(new LedgerUnknownError(operation, client_seq, why));
    }
    this.pending.clear();
  }
}
