import { ByteWindow, NEED_MORE } from "./byte-window.ts";
import { BITMAP_END, BOUNDS, RETURN_MESSAGE, StreamError } from "./format.ts";

/** What the target says to whoever feeds it (QEMU: migration/migration.c, source_return_path_thread). */
export type ReturnMessage =
  | { readonly kind: "shut"; readonly value: number }
  | { readonly kind: "pong"; readonly value: number }
  /** Pages that a vCPU waits for. `block` is null where it is the one named last. Bytes. */
  | { readonly kind: "request"; readonly block: string | null; readonly start: number; readonly bytes: number }
  | { readonly kind: "received"; readonly block: string; readonly pages: Buffer }
  | { readonly kind: "resume-ack"; readonly value: number }
  | { readonly kind: "switchover-ack" };

/** Reads the return path, in pieces of any size. What it does not know is an error with its offset. */
export class ReturnPathReader {
  readonly #window = new ByteWindow();
  readonly #onMessage: (message: ReturnMessage) => void;
  #failed: StreamError | null = null;

  constructor(onMessage: (message: ReturnMessage) => void) {
    this.#onMessage = onMessage;
  }

  /** @throws StreamError, from then on for ever. */
  push(chunk: Buffer): void {
    if (this.#failed !== null) throw this.#failed;
    this.#window.push(chunk);
    while (this.#window.ready()) {
      try {
        const message = this.#read();
        this.#window.accept();
        this.#onMessage(message);
      } catch (error) {
        if (error === NEED_MORE) return;
        if (error instanceof StreamError) this.#failed = error;
        throw error;
      }
    }
  }

  #fail(what: string): never {
    throw new StreamError(what, this.#window.offset);
  }

  #length(is: number, least: number, most = least): void {
    if (is < least || is > most) this.#fail(`a return message of ${is} bytes, where ${least} to ${most} belong`);
  }

  #start(): number {
    const start = Number(this.#window.u64());
    if (!Number.isSafeInteger(start)) this.#fail(`a request at ${start}`);
    return start;
  }

  #read(): ReturnMessage {
    const window = this.#window;
    const type = window.u16();
    const length = window.u16();
    switch (type) {
      case RETURN_MESSAGE.shut:
        this.#length(length, 4);
        return { kind: "shut", value: window.u32() };
      case RETURN_MESSAGE.pong:
        this.#length(length, 4);
        return { kind: "pong", value: window.u32() };
      case RETURN_MESSAGE.requestPages:
        this.#length(length, 12);
        return { kind: "request", start: this.#start(), bytes: window.u32(), block: null };
      case RETURN_MESSAGE.requestPagesOfBlock: {
        this.#length(length, 13, 13 + 255);
        const [start, bytes, block] = [this.#start(), window.u32(), window.counted()];
        this.#length(length, 13 + block.length);
        return { kind: "request", start, bytes, block };
      }
      case RETURN_MESSAGE.receivedBitmap: {
        this.#length(length, 1, 256);
        const block = window.counted();
        this.#length(length, 1 + block.length);
        const bytes = Number(window.u64());
        if (bytes > BOUNDS.bitmap) this.#fail(`a bitmap of ${bytes} bytes`);
        const pages = Buffer.from(window.take(bytes));
        if (window.u64() !== BITMAP_END) this.#fail("a bitmap without its end mark");
        return { kind: "received", block, pages };
      }
      case RETURN_MESSAGE.resumeAck:
        this.#length(length, 4);
        return { kind: "resume-ack", value: window.u32() };
      case RETURN_MESSAGE.switchoverAck:
        this.#length(length, 0);
        return { kind: "switchover-ack" };
      default:
        return this.#fail(`unknown return message ${type}`);
    }
  }
}
