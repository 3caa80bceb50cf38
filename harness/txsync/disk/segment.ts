import { closeSync, constants, ftruncateSync, openSync, readSync, renameSync, writeSync } from "node:fs";
import { crc32 } from "node:zlib";
import { type Extent, Extents } from "./extents.ts";

/** Where a byte is kept: so far into the segment's file, or nowhere because it is zero. */
const ZERO = -1;

/** u32 magic | u8 kind | 3 zero bytes | u64 offset | u32 length | u32 CRC of what is before it; then the bytes. */
const HEAD_BYTES = 24;
const MAGIC = 0x4644_5347;
const KIND = { write: 1, zero: 2 } as const;

/**
 * What was written to a disk between two marks: a file on the host's tmpfs, and where in it what lies. A write is in the
 * file before anybody is told that it was done, so the file alone is enough after the agent was killed; with its host
 * the tmpfs goes, and the guest too. Reading and writing memory takes microseconds and is not waited for elsewhere.
 */
export class Segment {
  readonly #fd: number;
  #path: string;
  readonly #extents = new Extents<number>((place, by) => (place === ZERO ? ZERO : place + by));
  #bytes = 0;

  private constructor(path: string, fd: number) {
    this.#path = path;
    this.#fd = fd;
  }

  static create(path: string): Segment {
    return new Segment(path, openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o600));
  }

  /** A segment that was left by whoever was killed. What it had not finished writing was not acknowledged, and is cut off. */
  static resume(path: string): Segment {
    const segment = Segment.#read(path, constants.O_RDWR);
    ftruncateSync(segment.#fd, segment.#bytes);
    return segment;
  }

  /** A segment that nobody writes to any more, or not to what is there already. */
  static look(path: string): Segment {
    return Segment.#read(path, constants.O_RDONLY);
  }

  static #read(path: string, flags: number): Segment {
    const segment = new Segment(path, openSync(path, flags));
    const head = Buffer.alloc(HEAD_BYTES);
    for (;;) {
      if (readSync(segment.#fd, head, 0, HEAD_BYTES, segment.#bytes) < HEAD_BYTES) break;
      const [kind, offset, length] = [head[4], Number(head.readBigUInt64BE(8)), head.readUInt32BE(16)];
      if (head.readUInt32BE(0) !== MAGIC || head.readUInt32BE(20) !== crc32(head.subarray(0, 20))) break;
      const behind = segment.#bytes + HEAD_BYTES;
      if (kind === KIND.write) {
        if (length > 0 && readSync(segment.#fd, Buffer.alloc(1), 0, 1, behind + length - 1) === 0) break;
        segment.#extents.put(offset, length, behind);
        segment.#bytes = behind + length;
      } else {
        segment.#extents.put(offset, length, ZERO);
        segment.#bytes = behind;
      }
    }
    return segment;
  }

  get path(): string {
    return this.#path;
  }

  rename(to: string): void {
    renameSync(this.#path, to);
    this.#path = to;
  }

  /** Bytes that the file has. */
  get bytes(): number {
    return this.#bytes;
  }

  write(offset: number, bytes: Buffer): void {
    this.#put(KIND.write, offset, bytes.length, bytes);
  }

  zero(offset: number, length: number): void {
    this.#put(KIND.zero, offset, length, undefined);
  }

  /** The parts of a range that are here, and those that are not; `read` gives the bytes of one that is. */
  walk(offset: number, length: number): ReturnType<Extents<number>["walk"]> {
    return this.#extents.walk(offset, length);
  }

  /** What was written, each byte once, as it was last. */
  [Symbol.iterator](): Iterator<Extent<number>> {
    return this.#extents[Symbol.iterator]();
  }

  /** Whether a place that `walk` told is a zero. */
  isZero(place: number): boolean {
    return place === ZERO;
  }

  readInto(place: number, into: Buffer, at: number, length: number): void {
    if (place === ZERO) {
      into.fill(0, at, at + length);
      return;
    }
    for (let got = 0; got < length; ) {
      const bytes = readSync(this.#fd, into, at + got, length - got, place + got);
      if (bytes === 0) throw new Error(`${this.#path} ends at byte ${place + got}, within what was written to it`);
      got += bytes;
    }
  }

  close(): void {
    closeSync(this.#fd);
  }

  #put(kind: number, offset: number, length: number, bytes: Buffer | undefined): void {
    const head = Buffer.alloc(HEAD_BYTES);
    head.writeUInt32BE(MAGIC, 0);
    head.writeUInt8(kind, 4);
    head.writeBigUInt64BE(BigInt(offset), 8);
    head.writeUInt32BE(length, 16);
    head.writeUInt32BE(crc32(head.subarray(0, 20)), 20);
    // What was put down in part only is written over by the next one: the end moves when all of it is there.
    const behind = this.#bytes + HEAD_BYTES;
    writeAllSync(this.#fd, head, this.#bytes);
    if (bytes !== undefined) writeAllSync(this.#fd, bytes, behind);
    this.#bytes = behind + (bytes?.length ?? 0);
    this.#extents.put(offset, length, bytes === undefined ? ZERO : behind);
  }
}

function writeAllSync(fd: number, bytes: Buffer, at: number): void {
  for (let put = 0; put < bytes.length; ) {
    const took = writeSync(fd, bytes, put, bytes.length - put, at + put);
    if (took === 0) throw new Error(`the tmpfs took none of ${bytes.length - put} bytes`);
    put += took;
  }
}
