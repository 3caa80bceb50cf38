import type { Readable } from "node:stream";

/** Takes bytes off a stream by length. What is not asked for yet stays where it is, so whoever sends too much waits. */
export class Taker {
  readonly #stream: Readable;
  #over = false;
  #wake: (() => void) | undefined;

  constructor(stream: Readable) {
    this.#stream = stream;
    const wake = (): void => this.#wake?.();
    const end = (): void => {
      this.#over = true;
      wake();
    };
    stream.on("readable", wake).on("end", end).on("close", end).on("error", end);
  }

  /** The next bytes, or undefined when the stream ends before. One asks at a time. */
  async take(length: number): Promise<Buffer | undefined> {
    if (length === 0) return Buffer.alloc(0);
    for (;;) {
      const found = this.#stream.read(length) as Buffer | null;
      if (found !== null) return found.length === length ? found : undefined;
      if (this.#over) return undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
  }
}
