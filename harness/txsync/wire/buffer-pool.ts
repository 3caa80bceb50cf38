/** Less than such a part of a buffer does not take one. */
const WASTE = 8;

/**
 * Buffers of one size that are used again: a fresh one of 256 KiB costs its page faults, 450 µs here, and is garbage
 * afterwards; one that was used before costs neither. Whoever takes one owns it until it is given back, by hand and once;
 * one that is not given back is garbage like any other. At most so many wait to be taken.
 */
export class BufferPool {
  readonly #bytes: number;
  readonly #most: number;
  readonly #free: ArrayBufferLike[] = [];

  /** @param bytes of each @param most how many are kept */
  constructor(bytes: number, most: number) {
    this.#bytes = bytes;
    this.#most = most;
  }

  /** How many wait to be taken. */
  get free(): number {
    return this.#free.length;
  }

  /**
   * So many bytes, with whatever was in them before. What is longer than a buffer of the pool, or so short that it would
   * waste one, gets memory of its own.
   */
  take(length: number): Buffer {
    if (length > this.#bytes || length < this.#bytes / WASTE) return Buffer.allocUnsafe(length);
    const memory = this.#free.pop() ?? new ArrayBuffer(this.#bytes);
    return Buffer.from(memory, 0, length);
  }

  /** Nobody looks at it any more, nor at any part of it. What is none of the pool is left alone. */
  give({ buffer }: Uint8Array): void {
    if (buffer.byteLength !== this.#bytes || this.#free.length >= this.#most || this.#free.includes(buffer)) return;
    this.#free.push(buffer);
  }
}
