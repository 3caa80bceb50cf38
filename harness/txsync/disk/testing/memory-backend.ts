import type { Backend } from "../backend.ts";

/** An image in memory that may fail, and whose operations may be held back. */
export class MemoryBackend implements Backend {
  readonly bytes: Buffer;
  /** So many more writes are taken; what comes then fails. */
  writes_left = Number.POSITIVE_INFINITY;
  flushes = 0;
  closed = false;
  /** Everything waits for it, where it is set. */
  gate: Promise<void> | undefined;
  /** Writes that came to the gate. */
  writes_come = 0;

  constructor(size_bytes: number) {
    this.bytes = Buffer.alloc(size_bytes);
  }

  get size_bytes(): number {
    return this.bytes.length;
  }

  async read(offset: number, length: number): Promise<Buffer> {
    await this.gate;
    return Buffer.from(this.bytes.subarray(offset, offset + length));
  }

  async write(offset: number, bytes: Buffer): Promise<void> {
    this.writes_come++;
    await this.gate;
    this.#count();
    bytes.copy(this.bytes, offset);
  }

  async zero(offset: number, length: number): Promise<void> {
    await this.gate;
    this.#count();
    this.bytes.fill(0, offset, offset + length);
  }

  async flush(): Promise<void> {
    await this.gate;
    this.flushes++;
  }

  async close(): Promise<void> {
    this.closed = true;
  }

  #count(): void {
    if (this.writes_left <= 0) throw new Error("the image takes nothing");
    this.writes_left--;
  }
}
