import { PAGE_BYTES } from "../../base/page.ts";
import {
  type FrameNumber,
  frameNumber,
  type Generation,
  generation,
  type TransactionNumber,
  transactionNumber,
} from "../core/index.ts";
import { crc32c } from "../wire/crc32c.ts";

/**
 * One transaction as bytes, on the wire and in the log alike; big-endian:
 *
 *     header   "FTXR" version u16 flags u16 | generation u64 n u64 since i64 (-1 base) mark u64 acked u64
 *              blocks u32 pages u32 full u32 device u32 frames u32 tables u32 | body u64 | crc32c u32
 *     body     blocks (u8 length, name, u64 bytes) | pages (u32 block, bit 31: all zeros; u32 number)
 *              | frames (u64 number, u8 channel, u32 length) | device state | frame bytes | full pages, 4096 each
 *     trailer  crc32c u32 of the body, "RXTF"
 *
 * `tables` is the length of blocks, pages and frame heads, so that a reader has all of them before any content.
 */
export const RECORD_VERSION = 1;
export const HEADER_BYTES = 84;
export const TRAILER_BYTES = 8;
const MAGIC = 0x46545852;
const END_MAGIC = 0x52585446;
const ZERO_FLAG = 0x8000_0000;
/** Bounds of what a reader believes: a block name, tables, device state. */
const TABLES_MAX = 512 * 1024 * 1024;
const DEVICE_MAX = 256 * 1024 * 1024;

export interface RecordPage {
  readonly block: number;
  readonly page: number;
  /** `null`: all zeros. */
  readonly bytes: Uint8Array | null;
}

export interface OutputFrame {
  readonly number: FrameNumber;
  readonly channel: number;
  readonly bytes: Uint8Array;
}

export interface TransactionRecord {
  readonly generation: Generation;
  readonly n: TransactionNumber;
  /** "base": everything that differs from the base; it stands without the records before it. */
  readonly since: TransactionNumber | "base";
  readonly mark: FrameNumber;
  readonly acked: FrameNumber;
  readonly blocks: readonly { readonly name: string; readonly size: number }[];
  readonly pages: readonly RecordPage[];
  readonly device_state: Uint8Array;
  readonly frames: readonly OutputFrame[];
}

/** A record that is not whole or not sound; `offset` is within the record. */
export class RecordError extends Error {
  override readonly name = "RecordError";
  readonly offset: number;

  constructor(what: string, offset: number) {
    super(`transaction record: ${what} at byte ${offset}`);
    this.offset = offset;
  }
}

export interface RecordHead {
  readonly generation: Generation;
  readonly n: TransactionNumber;
  readonly since: TransactionNumber | "base";
  readonly mark: FrameNumber;
  readonly acked: FrameNumber;
  readonly blockCount: number;
  readonly pageCount: number;
  readonly fullCount: number;
  readonly deviceBytes: number;
  readonly frameCount: number;
  readonly tableBytes: number;
  readonly bodyBytes: number;
}

export function headerOf(head: RecordHead): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt32BE(MAGIC, 0);
  header.writeUInt16BE(RECORD_VERSION, 4);
  header.writeBigUInt64BE(BigInt(head.generation), 8);
  header.writeBigUInt64BE(BigInt(head.n), 16);
  header.writeBigInt64BE(head.since === "base" ? -1n : BigInt(head.since), 24);
  header.writeBigUInt64BE(BigInt(head.mark), 32);
  header.writeBigUInt64BE(BigInt(head.acked), 40);
  header.writeUInt32BE(head.blockCount, 48);
  header.writeUInt32BE(head.pageCount, 52);
  header.writeUInt32BE(head.fullCount, 56);
  header.writeUInt32BE(head.deviceBytes, 60);
  header.writeUInt32BE(head.frameCount, 64);
  header.writeUInt32BE(head.tableBytes, 68);
  header.writeBigUInt64BE(BigInt(head.bodyBytes), 72);
  header.writeUInt32BE(crc32c(header.subarray(0, 80)), 80);
  return header;
}

/** @throws RecordError when these bytes are no header of a record. */
export function parseHeader(bytes: Buffer): RecordHead {
  if (bytes.length < HEADER_BYTES) throw new RecordError("its header is cut off", bytes.length);
  if (bytes.readUInt32BE(0) !== MAGIC) throw new RecordError("there is none", 0);
  if (crc32c(bytes.subarray(0, 80)) !== bytes.readUInt32BE(80))
    throw new RecordError("its header has a wrong checksum", 80);
  const version = bytes.readUInt16BE(4);
  if (version !== RECORD_VERSION) throw new RecordError(`it is of version ${version}, this reads ${RECORD_VERSION}`, 4);
  const since = Number(bytes.readBigInt64BE(24));
  const head: RecordHead = {
    generation: generation(Number(bytes.readBigUInt64BE(8))),
    n: transactionNumber(Number(bytes.readBigUInt64BE(16))),
    since: since < 0 ? "base" : transactionNumber(since),
    mark: frameNumber(Number(bytes.readBigUInt64BE(32))),
    acked: frameNumber(Number(bytes.readBigUInt64BE(40))),
    blockCount: bytes.readUInt32BE(48),
    pageCount: bytes.readUInt32BE(52),
    fullCount: bytes.readUInt32BE(56),
    deviceBytes: bytes.readUInt32BE(60),
    frameCount: bytes.readUInt32BE(64),
    tableBytes: bytes.readUInt32BE(68),
    bodyBytes: Number(bytes.readBigUInt64BE(72)),
  };
  if (head.tableBytes > TABLES_MAX || head.deviceBytes > DEVICE_MAX || head.fullCount > head.pageCount) {
    throw new RecordError("its header asks for too much", 48);
  }
  const least = head.tableBytes + head.deviceBytes + head.fullCount * PAGE_BYTES;
  if (!Number.isSafeInteger(head.bodyBytes) || head.bodyBytes < least)
    throw new RecordError("its sizes do not fit", 72);
  return head;
}

/** Blocks, pages and heads of the frames, in the form of the record. */
export interface RecordTables {
  readonly blocks: readonly { readonly name: string; readonly size: number }[];
  readonly pages: readonly { readonly block: number; readonly page: number; readonly zero: boolean }[];
  readonly frames: readonly { readonly number: FrameNumber; readonly channel: number; readonly length: number }[];
}

export function encodeTables(tables: RecordTables): Buffer {
  const pieces: Buffer[] = [];
  for (const { name, size } of tables.blocks) {
    const bytes = Buffer.from(name);
    if (bytes.length > 255) throw new RangeError(`the block name ${name} is longer than 255 bytes`);
    const tail = Buffer.alloc(8);
    tail.writeBigUInt64BE(BigInt(size));
    pieces.push(Buffer.from([bytes.length]), bytes, tail);
  }
  const pages = Buffer.allocUnsafe(tables.pages.length * 8);
  for (const [i, { block, page, zero }] of tables.pages.entries()) {
    pages.writeUInt32BE((zero ? (block | ZERO_FLAG) >>> 0 : block) >>> 0, i * 8);
    pages.writeUInt32BE(page, i * 8 + 4);
  }
  const frames = Buffer.allocUnsafe(tables.frames.length * 13);
  for (const [i, { number, channel, length }] of tables.frames.entries()) {
    frames.writeBigUInt64BE(BigInt(number), i * 13);
    frames.writeUInt8(channel, i * 13 + 8);
    frames.writeUInt32BE(length, i * 13 + 9);
  }
  return Buffer.concat([...pieces, pages, frames]);
}

/** @throws RecordError when the tables contradict the header or themselves. */
export function parseTables(head: RecordHead, bytes: Buffer): RecordTables {
  let at = 0;
  const need = (count: number): number => {
    const from = at;
    at += count;
    if (at > bytes.length) throw new RecordError("its tables are cut off", HEADER_BYTES + from);
    return from;
  };
  const blocks: { name: string; size: number }[] = [];
  for (let i = 0; i < head.blockCount; i += 1) {
    const length = bytes.readUInt8(need(1));
    const from = need(length);
    const name = bytes.toString("utf8", from, from + length);
    blocks.push({ name, size: Number(bytes.readBigUInt64BE(need(8))) });
  }
  const pages: { block: number; page: number; zero: boolean }[] = [];
  let full = 0;
  for (let i = 0; i < head.pageCount; i += 1) {
    const from = need(8);
    const word = bytes.readUInt32BE(from);
    const zero = (word & ZERO_FLAG) !== 0;
    const block = word & ~ZERO_FLAG;
    const page = bytes.readUInt32BE(from + 4);
    const size = blocks[block]?.size;
    if (size === undefined || page * PAGE_BYTES >= size)
      throw new RecordError(`page ${page} of block ${block} is nowhere`, HEADER_BYTES + from);
    if (!zero) full += 1;
    pages.push({ block, page, zero });
  }
  const frames: { number: FrameNumber; channel: number; length: number }[] = [];
  let frameBytes = 0;
  for (let i = 0; i < head.frameCount; i += 1) {
    const from = need(13);
    const length = bytes.readUInt32BE(from + 9);
    frameBytes += length;
    frames.push({
      number: frameNumber(Number(bytes.readBigUInt64BE(from))),
      channel: bytes.readUInt8(from + 8),
      length,
    });
  }
  const whole = head.tableBytes + head.deviceBytes + frameBytes + full * PAGE_BYTES;
  if (at !== head.tableBytes || full !== head.fullCount || whole !== head.bodyBytes) {
    throw new RecordError("its tables do not fit its header", HEADER_BYTES);
  }
  return { blocks, pages, frames };
}

export function trailerOf(bodyCrc: number): Buffer {
  const trailer = Buffer.alloc(TRAILER_BYTES);
  trailer.writeUInt32BE(bodyCrc, 0);
  trailer.writeUInt32BE(END_MAGIC, 4);
  return trailer;
}

/** @throws RecordError when the trailer is missing or the body is not what was written. */
export function checkTrailer(bytes: Buffer, bodyCrc: number, offset: number): void {
  if (bytes.length < TRAILER_BYTES || bytes.readUInt32BE(4) !== END_MAGIC)
    throw new RecordError("its end is missing", offset);
  if (bytes.readUInt32BE(0) !== bodyCrc) throw new RecordError("its body has a wrong checksum", offset);
}

/** The pieces of a record; page contents are not copied. */
export function encodeRecord(record: TransactionRecord): Uint8Array[] {
  const tables = encodeTables({
    blocks: record.blocks,
    pages: record.pages.map(({ block, page, bytes }) => ({ block, page, zero: bytes === null })),
    frames: record.frames.map(({ number, channel, bytes }) => ({ number, channel, length: bytes.length })),
  });
  const body: Uint8Array[] = [tables, record.device_state];
  for (const frame of record.frames) body.push(frame.bytes);
  let fullCount = 0;
  for (const { bytes } of record.pages) {
    if (bytes === null) continue;
    if (bytes.length !== PAGE_BYTES) throw new RangeError(`a page of ${bytes.length} bytes`);
    fullCount += 1;
    body.push(bytes);
  }
  let crc = 0;
  let bodyBytes = 0;
  for (const piece of body) {
    crc = crc32c(piece, crc);
    bodyBytes += piece.length;
  }
  const { generation, n, since, mark, acked } = record;
  const header = headerOf({
    generation,
    n,
    since,
    mark,
    acked,
    blockCount: record.blocks.length,
    pageCount: record.pages.length,
    fullCount,
    deviceBytes: record.device_state.length,
    frameCount: record.frames.length,
    tableBytes: tables.length,
    bodyBytes,
  });
  return [header, ...body, trailerOf(crc)];
}

/** Reads a whole record out of memory. @throws RecordError when it is anything but one whole record. */
export function decodeRecord(bytes: Buffer): TransactionRecord {
  const head = parseHeader(bytes);
  const end = HEADER_BYTES + head.bodyBytes;
  if (bytes.length !== end + TRAILER_BYTES)
    throw new RecordError(`${bytes.length} bytes instead of ${end + TRAILER_BYTES}`, 0);
  checkTrailer(bytes.subarray(end), crc32c(bytes.subarray(HEADER_BYTES, end)), end);
  const tables = parseTables(head, bytes.subarray(HEADER_BYTES, HEADER_BYTES + head.tableBytes));
  let at = HEADER_BYTES + head.tableBytes;
  const cut = (length: number): Buffer => {
    at += length;
    return bytes.subarray(at - length, at);
  };
  const device_state = cut(head.deviceBytes);
  const frames = tables.frames.map(({ number, channel, length }) => ({ number, channel, bytes: cut(length) }));
  const pages = tables.pages.map(({ block, page, zero }) => ({ block, page, bytes: zero ? null : cut(PAGE_BYTES) }));
  const { generation, n, since, mark, acked } = head;
  return { generation, n, since, mark, acked, blocks: tables.blocks, pages, device_state, frames };
}
