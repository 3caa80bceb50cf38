import { crc32 } from "node:zlib";
import { PAGE_BYTES } from "../../base/page.ts";
import { type FrameNumber, frameNumber, transactionNumber } from "../core/index.ts";
import { HALF_BYTES, halfCrcs, withHalf } from "./crc.ts";
import { digestHex } from "./digest.ts";
import {
  BLOCKS_MAX,
  CHUNK,
  CHUNK_BYTES_MAX,
  CHUNK_HEAD_BYTES,
  CHUNK_PAGES_MAX,
  count,
  END_BYTES,
  END_CRC_AT,
  END_MAGIC,
  FRAME_HEAD_BYTES,
  HEADER_BYTES,
  type ModifiedSet,
  PAGE_ENTRY_BYTES,
  PART_HEAD_BYTES,
  PARTS_MAX,
  type PartPiece,
  parseHeader,
  type RecordBlock,
  RecordError,
  type RecordHead,
  ZERO_FLAG,
} from "./record.ts";

export interface ParsedFrame {
  readonly number: FrameNumber;
  readonly channel: number;
  readonly bytes: Buffer;
  /** Where its bytes lie in the record. */
  readonly at: number;
}

/** Pages of one chunk, checked. */
export interface ParsedPages {
  readonly kind: "pages";
  readonly at: number;
  readonly count: number;
  /** `count` times u32 block (bit 31: all zeros), u32 page, big-endian. */
  readonly entries: Buffer;
  /** Of those that are not zero, in order, and where in the record it begins. */
  readonly content: Buffer;
  readonly content_at: number;
  /** CRC-32 of both halves of every page in `content`, signed. */
  readonly half_crcs: Int32Array;
}

export interface ParsedPart extends PartPiece {
  readonly kind: "part";
  /** Of its chunk's payload: name and numbers are before the bytes. */
  readonly at: number;
  /** Where its bytes lie in the record. */
  readonly bytes_at: number;
  readonly bytes: Buffer;
}

export interface RecordEnd extends ModifiedSet {
  readonly pages: number;
  readonly crc: number;
}

/** `at` is the place in the record, bytes. Buffers are views of what was pushed. */
export type RecordEvent =
  | { readonly kind: "header"; readonly at: number; readonly head: RecordHead }
  | { readonly kind: "blocks"; readonly at: number; readonly blocks: readonly RecordBlock[] }
  | { readonly kind: "device"; readonly at: number; readonly bytes: Buffer }
  | { readonly kind: "frames"; readonly at: number; readonly frames: readonly ParsedFrame[] }
  | ParsedPages
  | ParsedPart
  | { readonly kind: "end"; readonly at: number; readonly end: RecordEnd };

const KIND_NAMES = ["an end", "blocks", "device state", "frames", "pages", "a part"];

/** Reads one record as it comes, in pieces of any size; holds at most one chunk, and believes nothing. */
export class RecordParser {
  /** Bytes of the record that were parsed. */
  #offset = 0;
  #crc = 0;
  #stage: "header" | "head" | "payload" | "done" = "header";
  /** The unit under way (header, head of a chunk, payload) where it came in more than one piece. */
  #held: Buffer | null = null;
  #held_bytes = 0;
  #kind = -1;
  #length = HEADER_BYTES;
  #last_kind = 0;
  #head: RecordHead | null = null;
  #blocks: readonly RecordBlock[] = [];
  #frame = 0;
  #block = 0;
  #page = -1;
  #pages = 0;
  /** The last transaction of each part's pieces. */
  readonly #parts = new Map<string, number>();
  #failed: RecordError | null = null;

  /** Its end has come. */
  get whole(): boolean {
    return this.#stage === "done";
  }

  /** Bytes of the record so far. */
  get length(): number {
    return this.#offset + this.#held_bytes;
  }

  /** @throws RecordError when the bytes are not the record's next ones; from then on always. */
  push(bytes: Uint8Array): RecordEvent[] {
    const { events, used } = this.feed(bytes);
    if (used < bytes.length) throw this.#fail(new RecordError("bytes behind its end", this.#offset));
    return events;
  }

  /** Like `push`, for a stream of records: what lies behind the record's end is left, `used` says where that begins. */
  feed(bytes: Uint8Array): { readonly events: RecordEvent[]; readonly used: number } {
    if (this.#failed !== null) throw this.#failed;
    const events: RecordEvent[] = [];
    let at = 0;
    try {
      while (this.#stage !== "done") {
        const unit = this.#unit(bytes, at);
        at = unit.at;
        if (unit.whole === null) break;
        const event = this.#take(unit.whole);
        if (event !== null) events.push(event);
      }
    } catch (error) {
      throw error instanceof RecordError ? this.#fail(error) : error;
    }
    return { events, used: at };
  }

  /** @throws RecordError unless the record is whole. */
  finish(): void {
    if (this.#failed !== null) throw this.#failed;
    if (!this.whole) throw this.#fail(new RecordError("it is cut off", this.length));
  }

  #fail(error: RecordError): RecordError {
    this.#failed = error;
    this.#held = null;
    return error;
  }

  /** The next unit of `#length` bytes, a view where it lies in one piece. */
  #unit(bytes: Uint8Array, at: number): { readonly whole: Buffer | null; readonly at: number } {
    const need = this.#length - this.#held_bytes;
    const take = Math.min(need, bytes.length - at);
    const piece = Buffer.from(bytes.buffer, bytes.byteOffset + at, take);
    if (this.#held === null && take === need) return { whole: piece, at: at + take };
    if (take > 0) {
      this.#held ??= Buffer.allocUnsafe(this.#length);
      this.#held.set(piece, this.#held_bytes);
      this.#held_bytes += take;
    }
    if (take < need) return { whole: null, at: at + take };
    const whole = this.#held;
    this.#held = null;
    this.#held_bytes = 0;
    return { whole, at: at + take };
  }

  #take(unit: Buffer): RecordEvent | null {
    const at = this.#offset;
    switch (this.#stage) {
      case "header": {
        const head = parseHeader(unit);
        this.#head = head;
        this.#frame = head.acked;
        this.#count(unit);
        this.#expectHead();
        return { kind: "header", at, head };
      }
      case "head":
        this.#takeHead(unit);
        this.#offset += CHUNK_HEAD_BYTES;
        return null;
      case "payload": {
        const event = this.#takePayload(unit);
        this.#last_kind = this.#kind;
        this.#offset += unit.length;
        if (this.#kind === CHUNK.end) this.#stage = "done";
        else this.#expectHead();
        return event;
      }
      default:
        return null;
    }
  }

  #expectHead(): void {
    this.#stage = "head";
    this.#length = CHUNK_HEAD_BYTES;
  }

  #takeHead(unit: Buffer): void {
    const kind = unit.readUInt8(0);
    const length = unit.readUInt32BE(1);
    const name = KIND_NAMES[kind];
    if (name === undefined) throw new RecordError(`a chunk of unknown kind ${kind}`, this.#offset);
    const first = this.#last_kind === 0;
    const inOrder = first
      ? kind === CHUNK.blocks
      : kind === CHUNK.end || (kind >= this.#last_kind && kind !== CHUNK.blocks);
    if (!inOrder) throw new RecordError(`${name} out of order`, this.#offset);
    if (length > CHUNK_BYTES_MAX || (kind === CHUNK.end && length !== END_BYTES)) {
      throw new RecordError(`${name} of ${length} bytes`, this.#offset + 1);
    }
    this.#crc = crc32(unit, this.#crc);
    this.#kind = kind;
    this.#length = length;
    this.#stage = "payload";
  }

  #takePayload(payload: Buffer): RecordEvent {
    const at = this.#offset;
    switch (this.#kind) {
      case CHUNK.blocks:
        this.#crc = crc32(payload, this.#crc);
        this.#blocks = this.#readBlocks(payload);
        return { kind: "blocks", at, blocks: this.#blocks };
      case CHUNK.device:
        this.#crc = crc32(payload, this.#crc);
        return { kind: "device", at, bytes: payload };
      case CHUNK.frames:
        this.#crc = crc32(payload, this.#crc);
        return { kind: "frames", at, frames: this.#readFrames(payload) };
      case CHUNK.pages:
        return this.#readPages(payload);
      case CHUNK.part:
        this.#crc = crc32(payload, this.#crc);
        return this.#readPart(payload);
      default:
        return { kind: "end", at, end: this.#readEnd(payload) };
    }
  }

  #count(bytes: Buffer): void {
    this.#crc = crc32(bytes, this.#crc);
    this.#offset += bytes.length;
  }

  #readBlocks(payload: Buffer): RecordBlock[] {
    const blocks: RecordBlock[] = [];
    const names = new Set<string>();
    for (let at = 0; at < payload.length; ) {
      const length = payload.readUInt8(at);
      if (at + 9 + length > payload.length) throw new RecordError("its blocks are cut off", this.#offset + at);
      const name = payload.toString("utf8", at + 1, at + 1 + length);
      const bytes = count(payload, at + 1 + length, this.#offset + at + 1 + length);
      if (names.has(name)) throw new RecordError(`block ${name} twice`, this.#offset + at);
      names.add(name);
      blocks.push({ name, bytes });
      at += 9 + length;
    }
    if (blocks.length > BLOCKS_MAX) throw new RecordError(`${blocks.length} blocks`, this.#offset);
    return blocks;
  }

  #readFrames(payload: Buffer): ParsedFrame[] {
    const frames: ParsedFrame[] = [];
    for (let at = 0; at < payload.length; ) {
      if (at + FRAME_HEAD_BYTES > payload.length) throw new RecordError("its frames are cut off", this.#offset + at);
      const number = count(payload, at, this.#offset + at);
      const from = at + FRAME_HEAD_BYTES;
      const end = from + payload.readUInt32BE(at + 9);
      if (end > payload.length) throw new RecordError("its frames are cut off", this.#offset + at);
      if (number <= this.#frame || number > (this.#head?.mark ?? 0)) {
        throw new RecordError(`frame ${number} out of order`, this.#offset + at);
      }
      this.#frame = number;
      frames.push({
        number: frameNumber(number),
        channel: payload.readUInt8(at + 8),
        bytes: payload.subarray(from, end),
        at: this.#offset + from,
      });
      at = end;
    }
    return frames;
  }

  #readPages(payload: Buffer): ParsedPages {
    const at = this.#offset;
    const total = payload.length < 4 ? 0 : payload.readUInt32BE(0);
    const from = 4 + total * PAGE_ENTRY_BYTES;
    if (total < 1 || total > CHUNK_PAGES_MAX || from > payload.length) throw new RecordError(`${total} pages`, at);
    let full = 0;
    for (let i = 4; i < from; i += PAGE_ENTRY_BYTES) {
      const word = payload.readUInt32BE(i);
      const page = payload.readUInt32BE(i + 4);
      const block = word & ~ZERO_FLAG;
      const bytes = this.#blocks[block]?.bytes;
      if (bytes === undefined || (page + 1) * PAGE_BYTES > bytes)
        throw new RecordError(`page ${page} of block ${block}, which is nowhere,`, at + i);
      if (block < this.#block || (block === this.#block && page <= this.#page))
        throw new RecordError(`page ${page} of block ${block} out of order`, at + i);
      this.#block = block;
      this.#page = page;
      if ((word & ZERO_FLAG) === 0) full += 1;
    }
    const content = payload.subarray(from);
    if (content.length !== full * PAGE_BYTES) {
      throw new RecordError(`${full} pages with ${content.length} bytes of content`, at + from);
    }
    const half_crcs = new Int32Array(content.length / HALF_BYTES);
    halfCrcs(content, half_crcs);
    let crc = crc32(payload.subarray(0, from), this.#crc);
    for (let i = 0; i < half_crcs.length; i += 1) crc = withHalf(crc, half_crcs[i] as number);
    this.#crc = crc >>> 0;
    this.#pages += total;
    const entries = payload.subarray(4, from);
    return { kind: "pages", at, count: total, entries, content, content_at: at + from, half_crcs };
  }

  #readPart(payload: Buffer): ParsedPart {
    const at = this.#offset;
    const from = payload.length < PART_HEAD_BYTES ? Infinity : PART_HEAD_BYTES + payload.readUInt8(16);
    if (from === PART_HEAD_BYTES || from > payload.length) throw new RecordError("a part is cut off", at);
    const n = transactionNumber(count(payload, 0, at));
    const floor = count(payload, 8, at + 8);
    const { n: record, since } = this.#head as RecordHead;
    const name = payload.toString("utf8", PART_HEAD_BYTES, from);
    const before = this.#parts.get(name) ?? 0;
    if (n > record || floor > n || n < before || (since !== "base" && n <= since))
      throw new RecordError(`part ${name} of transaction ${n} down to ${floor}`, at);
    this.#parts.set(name, n);
    if (this.#parts.size > PARTS_MAX) throw new RecordError(`${this.#parts.size} parts`, at);
    return { kind: "part", at, name, n, floor, bytes: payload.subarray(from), bytes_at: at + from };
  }

  #readEnd(payload: Buffer): RecordEnd {
    const at = this.#offset;
    this.#crc = crc32(payload.subarray(0, END_CRC_AT), this.#crc);
    if (payload.readUInt32BE(END_CRC_AT + 4) !== END_MAGIC) throw new RecordError("its end is missing", at);
    if (payload.readUInt32BE(END_CRC_AT) !== this.#crc)
      throw new RecordError("it has a wrong checksum", at + END_CRC_AT);
    const pages = count(payload, 0, at);
    const modified_pages = count(payload, 8, at + 8);
    if (pages !== this.#pages) throw new RecordError(`it has ${this.#pages} pages and says ${pages}`, at);
    if (modified_pages < pages) {
      throw new RecordError(`${pages} pages of a modified set of ${modified_pages}`, at + 8);
    }
    const digest = digestHex(payload.readInt32BE(16), payload.readInt32BE(20));
    return { pages, modified_pages, digest, crc: this.#crc };
  }
}
