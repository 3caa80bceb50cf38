/** More bytes are needed than have come; thrown and caught within a reader, never seen outside. */
export const NEED_MORE = Symbol("more bytes needed");

/** So many chunks may wait before they are joined: a chunk of one byte costs a hundred. */
const WAITING_CHUNKS = 256;

/**
 * The bytes of a stream that were not consumed yet. A reader takes what a record needs; when that is not there yet,
 * the window goes back to the record's beginning and waits. Bytes that were handed out are never written over.
 */
export class ByteWindow {
  /** What is to be read: a chunk as it came, or the used part of `#store`. */
  #bytes: Buffer = Buffer.alloc(0);
  #store: Buffer = this.#bytes;
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
    if (this.#waiting.length >= WAITING_CHUNKS) this.#join();
  }

  /**
   * Whether another attempt makes sense; joins what has come with what was left.
   * @param last nothing more will come: whatever is there has to do
   */
  ready(last = false): boolean {
    if (this.held === 0 || (this.held < this.#wanted && !last)) return false;
    if (this.#waitingBytes > 0) this.#join();
    this.#at = this.#start;
    this.#wanted = 0;
    return true;
  }

  #join(): void {
    const rest = this.#bytes.length - this.#start;
    const bytes = rest + this.#waitingBytes;
    const [only] = this.#waiting;
    if (rest === 0 && this.#waiting.length === 1 && only !== undefined) {
      this.#begin(only, only);
    } else if (this.#store.length - this.#bytes.length >= this.#waitingBytes) {
      this.#append(this.#store);
    } else {
      // Room for as much again where a record outgrows its chunks, so that joining stays linear.
      const store = Buffer.allocUnsafeSlow(rest > this.#waitingBytes ? 2 * bytes : bytes);
      this.#bytes.copy(store, 0, this.#start);
      this.#begin(store.subarray(0, rest), store);
      this.#append(store);
    }
    this.#waiting = [];
    this.#waitingBytes = 0;
  }

  #begin(bytes: Buffer, store: Buffer): void {
    this.#base += this.#start;
    this.#at -= this.#start;
    this.#start = 0;
    this.#bytes = bytes;
    this.#store = store;
  }

  #append(store: Buffer): void {
    let end = this.#bytes.length;
    for (const chunk of this.#waiting) end += chunk.copy(store, end);
    this.#bytes = store.subarray(0, end);
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
