import { once } from "node:events";
import { createConnection, type Socket } from "node:net";
import { PAGE_BYTES } from "../../base/page.ts";
import { within } from "../../base/wait.ts";
import { type ReturnMessage, ReturnPathReader } from "../../qemu/stream/return-path.ts";
import { askReceived, endOfMigration, type PageToWrite, ping, ramPart, resume } from "../../qemu/stream/writer.ts";
import type { PageRun } from "../dirty/pages.ts";
import type { BlockSize } from "../pages/page-map.ts";

export interface FeedOptions {
  readonly ram_section_id: number;
  readonly blocks: readonly BlockSize[];
  /** QEMU has read everything that was written before the ping of this number. */
  readonly onPong: (value: number) => void;
  /** The connection is gone, for whatever reason. */
  readonly onClosed: (why: string) => void;
  /** Where the memory of what is written comes from, and goes to when it was. */
  readonly lender?: { take(bytes: number): Buffer; give(buffer: Uint8Array): void };
}

const HANDSHAKE_MS = 5_000;
const RESUME_ACKED = 1;

/**
 * The target's end of the relay: the only one that its QEMU ever talks to, over a local socket. Writes the stream that
 * QEMU reads, at record boundaries only, and hears what it asks for.
 */
export class TargetFeed implements Disposable {
  readonly #options: FeedOptions;
  readonly #socket: Socket;
  #lastBlock: string | null = null;
  #onRequest: ((run: PageRun) => void) | undefined;
  /** Asked for before anybody listened: QEMU asks once, and right behind the handshake. */
  readonly #early: PageRun[] = [];
  #waiting: ((message: ReturnMessage) => boolean) | undefined;

  private constructor(options: FeedOptions, socket: Socket) {
    this.#options = options;
    this.#socket = socket;
    const reader = new ReturnPathReader((message) => this.#hear(message));
    socket.on("data", (chunk: Buffer) => {
      try {
        reader.push(chunk);
      } catch (error) {
        socket.destroy(error as Error);
      }
    });
    let why = "QEMU closed it";
    socket.on("error", (error) => {
      why = error.message;
      socket.destroy();
    });
    socket.on("close", () => options.onClosed(why));
  }

  /** Connects to a QEMU that was told `migrate-incoming` or `migrate-recover` with this path. */
  static async connect(path: string, options: FeedOptions): Promise<TargetFeed> {
    const socket = createConnection(path);
    await within({ what: `QEMU to listen on ${path}`, timeout_ms: HANDSHAKE_MS }, once(socket, "connect"));
    return new TargetFeed(options, socket);
  }

  /** Hears which pages the target's QEMU waits for, also those that it asked for before this was set. */
  set onRequest(listener: (run: PageRun) => void) {
    this.#onRequest = listener;
    for (const run of this.#early.splice(0)) listener(run);
  }

  /** Whether QEMU is slower than what it is given: nothing more should come for the moment. */
  get full(): boolean {
    return this.#socket.writableLength > 1 << 20;
  }

  /** Bytes of the stream that somebody else made: header, commands, package. */
  write(bytes: Uint8Array): void {
    this.#socket.write(bytes);
  }

  /** @param pages each one that QEMU has not had yet: a second time is fatal for it. Copied: they may change afterwards. */
  writePages(pages: readonly PageToWrite[]): void {
    const { ram_section_id, lender } = this.#options;
    if (lender === undefined) this.#socket.write(ramPart(ram_section_id, pages)[0]);
    else {
      const [part] = ramPart(ram_section_id, pages, undefined, (bytes) => lender.take(bytes));
      this.#socket.write(part, () => lender.give(part));
    }
  }

  ping(value: number): void {
    this.#socket.write(ping(value));
  }

  /** All pages are there: QEMU completes the migration. */
  end(): void {
    this.#socket.write(endOfMigration(this.#options.ram_section_id));
  }

  /**
   * QEMU's own recovery handshake, with a target that is `postcopy-paused` (harness/qemu/FACTS.md, "Taking over the
   * page service"; QEMU: migration/savevm.c loadvm_postcopy_handle_resume).
   * @returns the pages that QEMU has, by block: bit p%8 of byte p/8
   */
  async recover(): Promise<ReadonlyMap<string, Buffer>> {
    const received = new Map<string, Buffer>();
    for (const { name } of this.#options.blocks) {
      this.#socket.write(askReceived(name));
      const pages = await this.#answer(`QEMU to tell which pages of ${name} it has`, (message) =>
        message.kind === "received" && message.block === name ? message.pages : undefined,
      );
      received.set(name, pages);
    }
    this.#socket.write(resume());
    const value = await this.#answer("QEMU to resume", (message) =>
      message.kind === "resume-ack" ? message.value : undefined,
    );
    if (value !== RESUME_ACKED) throw new Error(`QEMU answers the resume with ${value}`);
    return received;
  }

  async #answer<T>(what: string, pick: (message: ReturnMessage) => T | undefined): Promise<T> {
    const { promise, resolve } = Promise.withResolvers<T>();
    this.#waiting = (message) => {
      const picked = pick(message);
      if (picked === undefined) return false;
      this.#waiting = undefined;
      resolve(picked);
      return true;
    };
    return await within({ what, timeout_ms: HANDSHAKE_MS }, promise);
  }

  #hear(message: ReturnMessage): void {
    if (this.#waiting?.(message) === true) return;
    if (message.kind === "pong") this.#options.onPong(message.value);
    if (message.kind !== "request") return;
    const block = message.block ?? this.#lastBlock;
    if (block === null) return;
    this.#lastBlock = block;
    const first = Math.floor(message.start / PAGE_BYTES);
    const count = Math.ceil((message.start + message.bytes) / PAGE_BYTES) - first;
    const run = { block, first, count };
    if (this.#onRequest === undefined) this.#early.push(run);
    else this.#onRequest(run);
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }
}

/** The pages of a received bitmap, one after the other. */
export function* pagesIn(bitmap: Buffer): Generator<number> {
  for (const [at, byte] of bitmap.entries()) {
    for (let bit = 0; bit < 8; bit += 1) if ((byte & (1 << bit)) !== 0) yield at * 8 + bit;
  }
}
