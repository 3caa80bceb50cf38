import { closeSync, constants, existsSync, fstatSync, ftruncateSync, openSync, readFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { isStorageTrouble } from "./storage-trouble.ts";

/** As `writeSync`: what a test replaces by one that fails. */
export type WriteAt = (fd: number, bytes: Uint8Array, offset: number, length: number, position: number) => number;

/** u64 turn, u32 length of the content, u32 CRC-32 of these and it. */
const HEAD_BYTES = 16;
/** u32 length of the piece, u32 CRC-32 of it, its turn, its place and its length. */
const PIECE_HEAD_BYTES = 8;
const ZEROS = Buffer.alloc(64 * 1024);

/** What was found there: the last content, and the pieces that were added to it. */
interface Found {
  readonly slot: number;
  readonly turn: bigint;
  readonly content: Buffer;
  readonly pieces: readonly Buffer[];
  readonly end: number;
}

/**
 * Small state on the host's tmpfs, in two files that are written in turn, each in its place: whoever reads finds the last
 * content that was written whole. The room for so much is taken when the agent first comes up, so that a memory that is
 * full later takes nothing away from it; only what is longer needs more.
 *
 *     file: head, content, (piece head, piece)*, and what is left of earlier turns
 */
export class TwoPlaces {
  readonly #paths: readonly [string, string];
  readonly #fds: [number | undefined, number | undefined] = [undefined, undefined];
  readonly #reserve_bytes: number;
  readonly #write: WriteAt;
  #slot = 1;
  #turn = 0n;
  /** Where the next piece goes; 0: nothing was ever written. */
  #end = 0;
  #added_bytes = 0;

  /** @param reserve_bytes of each of the two */
  constructor(folder: string, name: string, reserve_bytes: number, write: WriteAt = writeSync) {
    this.#paths = [join(folder, `${name}.0`), join(folder, `${name}.1`)];
    this.#reserve_bytes = reserve_bytes;
    this.#write = write;
  }

  /** @returns undefined where nothing was ever written whole */
  load(): Pick<Found, "content" | "pieces"> | undefined {
    const found = [this.#read(0), this.#read(1)].filter((one) => one !== undefined);
    const last = found.sort((a, b) => (a.turn < b.turn ? 1 : -1))[0];
    if (last !== undefined) {
      this.#slot = last.slot;
      this.#turn = last.turn;
      this.#end = last.end;
      this.#added_bytes = last.pieces.reduce((sum, piece) => sum + piece.length, 0);
    }
    this.#reserve();
    return last;
  }

  /** Of the pieces behind the content. */
  get added_bytes(): number {
    return this.#added_bytes;
  }

  /** The content from now on, with no piece behind it. @throws what the file does; then all is as it was */
  replace(content: Uint8Array): void {
    const slot = 1 - this.#slot;
    const turn = this.#turn + 1n;
    const head = Buffer.alloc(HEAD_BYTES);
    head.writeBigUInt64BE(turn, 0);
    head.writeUInt32BE(content.length, 8);
    head.writeUInt32BE(crcOf(head.subarray(0, 12), content), 12);
    const end = HEAD_BYTES + content.length;
    this.#writeOrFind(slot, Buffer.concat([head, content]), 0, { turn, end });
    this.#slot = slot;
    this.#turn = turn;
    this.#end = end;
    this.#added_bytes = 0;
    this.#giveBack(1 - slot);
  }

  /** A file that nobody reads any more keeps the room that it was made with. */
  #giveBack(slot: number): void {
    const fd = this.#fds[slot];
    if (fd === undefined) return;
    try {
      if (fstatSync(fd).size > this.#reserve_bytes) ftruncateSync(fd, this.#reserve_bytes);
    } catch (error) {
      // What was to be written is.
      if (!isStorageTrouble(error)) throw error;
    }
  }

  /** Behind the content, and whatever was added to it. @throws what the file does; then nothing was added */
  add(piece: Uint8Array): void {
    if (this.#end === 0) this.replace(Buffer.alloc(0));
    const head = Buffer.alloc(PIECE_HEAD_BYTES);
    head.writeUInt32BE(piece.length, 0);
    head.writeUInt32BE(this.#crcOfPiece(this.#turn, this.#end, piece), 4);
    const end = this.#end + PIECE_HEAD_BYTES + piece.length;
    this.#writeOrFind(this.#slot, Buffer.concat([head, piece]), this.#end, { turn: this.#turn, end });
    this.#end = end;
    this.#added_bytes += piece.length;
  }

  #open(slot: number): number {
    const fd = this.#fds[slot] ?? openSync(this.#paths[slot] ?? "", constants.O_RDWR | constants.O_CREAT, 0o600);
    this.#fds[slot] = fd;
    return fd;
  }

  /**
   * What stands in the file whole is written, whatever was said of the write: whoever reads it next believes it. What could
   * not be written may have stood there already (zeros, or the end of an earlier content).
   * @throws what the file does, where it is not there
   */
  #writeOrFind(
    slot: number,
    bytes: Uint8Array,
    at: number,
    whole: { readonly turn: bigint; readonly end: number },
  ): void {
    try {
      this.#writeAll(this.#open(slot), bytes, at);
    } catch (error) {
      const found = this.#read(slot);
      if (found?.turn !== whole.turn || found.end < whole.end) throw error;
    }
  }

  #writeAll(fd: number, bytes: Uint8Array, at: number): void {
    for (let done = 0; done < bytes.length; ) {
      const took = this.#write(fd, bytes, done, bytes.length - done, at + done);
      if (took <= 0) throw Object.assign(new Error("the file took nothing"), { code: "ENOSPC" });
      done += took;
    }
  }

  /** As far as there is room for it now; what is written needs no more room later. */
  #reserve(): void {
    for (const slot of [0, 1]) {
      try {
        const fd = this.#open(slot);
        for (let { size } = fstatSync(fd); size < this.#reserve_bytes; ) {
          const bytes = ZEROS.subarray(0, Math.min(ZEROS.length, this.#reserve_bytes - size));
          this.#writeAll(fd, bytes, size);
          size += bytes.length;
        }
      } catch (error) {
        if (!isStorageTrouble(error)) throw error;
      }
    }
  }

  #read(slot: number): Found | undefined {
    const path = this.#paths[slot] ?? "";
    if (!existsSync(path)) return undefined;
    const bytes = readFileSync(path);
    if (bytes.length < HEAD_BYTES) return undefined;
    const turn = bytes.readBigUInt64BE(0);
    const length = bytes.readUInt32BE(8);
    const content = bytes.subarray(HEAD_BYTES, HEAD_BYTES + length);
    if (turn === 0n || content.length < length) return undefined;
    if (crcOf(bytes.subarray(0, 12), content) !== bytes.readUInt32BE(12)) return undefined;
    const pieces: Buffer[] = [];
    let end = HEAD_BYTES + length;
    while (end + PIECE_HEAD_BYTES <= bytes.length) {
      const piece_bytes = bytes.readUInt32BE(end);
      const piece = bytes.subarray(end + PIECE_HEAD_BYTES, end + PIECE_HEAD_BYTES + piece_bytes);
      // Cut off in the middle of a write, or of an earlier turn.
      if (piece_bytes === 0 || piece.length < piece_bytes) break;
      if (this.#crcOfPiece(turn, end, piece) !== bytes.readUInt32BE(end + 4)) break;
      pieces.push(piece);
      end += PIECE_HEAD_BYTES + piece_bytes;
    }
    return { slot, turn, content, pieces, end };
  }

  #crcOfPiece(turn: bigint, at: number, piece: Uint8Array): number {
    const seed = Buffer.alloc(20);
    seed.writeBigUInt64BE(turn, 0);
    seed.writeBigUInt64BE(BigInt(at), 8);
    seed.writeUInt32BE(piece.length, 16);
    return crcOf(seed, piece);
  }

  [Symbol.dispose](): void {
    for (const slot of [0, 1]) {
      const fd = this.#fds[slot];
      if (fd !== undefined) closeSync(fd);
      this.#fds[slot] = undefined;
    }
  }
}

function crcOf(...parts: readonly Uint8Array[]): number {
  return parts.reduce((crc, part) => crc32(part, crc), 0);
}
