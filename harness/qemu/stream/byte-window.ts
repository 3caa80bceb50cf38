/** More bytes are needed than have come; thrown and caught within a reader, never seen outside. */
export const NEED_MORE = Symbol("more bytes needed");

/**
 * The bytes of a stream that were not consumed yet. A reader takes what a record needs; when that is not there yet,
 * the window goes back to the record's beginning and waits. Copies each chunk at most once.
 */
export class ByteWindow {
  #bytes: Buffer = Buffer.alloc(0);
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  /** Where the record that is being read began, and how far it was read. */
  #start = 0;
  #at = 0;
  #base = 0;
  /** So many bytes have to be there before another attempt makes sense. */
  #wanted = 0;

  /** Bytes of the stream before the one that is read next. */
  get offset(): number {
    return this.#base + this.#at;
  }

  /** Bytes held that belong to no whole record yet. */
  get held(): number {
    return this.#bytes.length - this.#start + this.#waitingBytes;
  }

  push(chunk: Buffer): void {
    if (chunk.length === 0) return;
    this.#waiting.push(chunk);
    this.#waitingBytes += chunk.length;
  }

  /** Whether another attempt makes sense; joins what has come with what was left. */
  ready(): boolean {
    if (this.held === 0 || this.held < this.#wanted) return false;
    if (this.#waitingBytes > 0) {
      const rest = this.#bytes.subarray(this.#start);
      this.#base += this.#start;
      this.#bytes =
        rest.length === 0 && this.#waiting.length === 1
          ? (this.#waiting[0] as Buffer)
          : Buffer.concat([rest, ...this.#waiting], rest.length + this.#waitingBytes);
      this.#waiting = [];
      this.#waitingBytes = 0;
      this.#start = 0;
    }
    this.#at = this.#start;
    this.#wanted = 0;
    return true;
  }

  /** A record was read whole: it will not be looked at again. */
  accept(): void {
    this.#start = this.#at;
  }

  /** The record's bytes so far, a view. */
  raw(): Buffer {
    return this.#bytes.subarray(this.#start, this.#at);
  }

  get remaining(): number {
    return this.#bytes.length - this.#at;
  }

  /** What lies ahead, without taking it. */
  ahead(): Buffer {
    return this.#bytes.subarray(this.#at);
  }

  need(count: number): void {
    if (this.remaining >= count) return;
    this.#wanted = this.#at - this.#start + count;
    throw NEED_MORE;
  }

  u8(): number {
    this.need(1);
    return this.#bytes[this.#at++] as number;
  }

  u16(): number {
    this.need(2);
    this.#at += 2;
    return this.#bytes.readUInt16BE(this.#at - 2);
  }

  u32(): number {
    this.need(4);
    this.#at += 4;
    return this.#bytes.readUInt32BE(this.#at - 4);
  }

  u64(): bigint {
    this.need(8);
    this.#at += 8;
    return this.#bytes.readBigUInt64BE(this.#at - 8);
  }

  take(count: number): Buffer {
    this.need(count);
    this.#at += count;
    return this.#bytes.subarray(this.#at - count, this.#at);
  }

  /** A name with its length before it. */
  counted(): string {
    const length = this.u8();
    return this.take(length).toString("latin1");
  }
}
