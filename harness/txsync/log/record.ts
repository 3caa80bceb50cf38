import { crc32 } from "node:zlib";
import {
  type FrameNumber,
  frameNumber,
  type Generation,
  generation,
  type TransactionNumber,
  transactionNumber,
} from "../core/index.ts";

/**
 * One transaction as a stream, on the wire and in the log alike; nobody ever has to hold more of it than a chunk.
 * Big-endian:
 *
 *     header  "FTXR" u16 version u16 0 | generation u64 n u64 since i64 (-1 base) mark u64 acked u64 | crc32 u32
 *     chunk   u8 kind | u32 length | payload
 *             1 blocks: (u8 length, name, u64 bytes)*       2 device state, a part
 *             3 frames: (u64 number, u8 channel, u32 length, bytes)*
 *             4 pages: u32 count | count x (u32 block, bit 31: all zeros; u32 page) | contents of the others, 4096 each
 *             5 a piece of a state part: u64 n | u64 floor | u8 length, name | bytes, which only the part itself reads
 *             0 end: u64 pages in the record | u64 pages in the modified set | u32 lane1 | u32 lane2
 *                    | crc32 u32 of everything from the header up to this field | "RXTF"
 *
 * In this order: header, blocks (one chunk), device state, frames (ascending), pages (ascending by block and page), pieces
 * of parts (ascending by n, for each part), end. The end's digest is that of the whole modified set as of this record (`digest.ts`). Checksums are zlib's CRC-32.
 */
export const RECORD_VERSION = 3;
export const HEADER_BYTES = 52;
export const CHUNK_HEAD_BYTES = 5;
export const END_BYTES = 32;
/** Where in the end's payload the checksum stands. */
export const END_CRC_AT = 24;
export const END_MAGIC = 0x52585446;
/** What readers accept. */
export const CHUNK_BYTES_MAX = 2 ** 20 + 64 * 1024;
export const CHUNK_PAGES_MAX = 256;
/** What we write: a piece of this size does not hold anything up. */
export const WRITTEN_PAGES_MAX = 64;
export const WRITTEN_BYTES_MAX = 256 * 1024;
export const PAGE_ENTRY_BYTES = 8;
export const FRAME_HEAD_BYTES = 13;
export const PART_HEAD_BYTES = 17;
export const PARTS_MAX = 256;
export const BLOCKS_MAX = 4096;
export const ZERO_FLAG = 0x8000_0000;
const MAGIC = 0x46545852;

export const CHUNK = { end: 0, blocks: 1, device: 2, frames: 3, pages: 4, part: 5 } as const;

/** A record that is not whole or not sound; `offset` is within the record. */
export class RecordError extends Error {
  override readonly name: string = "RecordError";
  readonly offset: number;

  constructor(what: string, offset: number) {
    super(`transaction record: ${what} at byte ${offset}`);
    this.offset = offset;
  }
}

export type Rule =
  | "number"
  | "generation"
  | "since"
  | "marks"
  | "acked"
  | "blocks"
  | "lacks-pages"
  | "digest"
  | "parts";

/**
 * A record that is sound as bytes and must not be believed: whoever made it has lost count. It is never stored, and it
 * is said.
 */
export class RecordViolation extends RecordError {
  override readonly name = "RecordViolation";
  readonly rule: Rule;

  constructor(rule: Rule, what: string, offset = 0) {
    super(what, offset);
    this.rule = rule;
  }
}

export interface RecordHead {
  readonly generation: Generation;
  readonly n: TransactionNumber;
  /** "base": everything that differs from the base; it stands without the records before it. */
  readonly since: TransactionNumber | "base";
  readonly mark: FrameNumber;
  readonly acked: FrameNumber;
}

export interface RecordBlock {
  readonly name: string;
  readonly bytes: number;
}

export interface OutputFrame {
  readonly number: FrameNumber;
  readonly channel: number;
  readonly bytes: Uint8Array;
}

/**
 * What a transaction has of a part of the VM's state beside device state and RAM: the disk blocks written since, say. The
 * log keeps pieces in the order of their numbers and knows nothing of what is in them; a record since s has those of
 * s + 1 and later, one since the base replaces all that came before.
 */
export interface PartPiece {
  /** Of the part: `disk0`; 1 to 255 bytes. */
  readonly name: string;
  /** The transaction in which it was captured. */
  readonly n: TransactionNumber;
  /** Of this part, pieces of transactions up to here are needed no more (0: all are): what they say is elsewhere by now. */
  readonly floor: number;
  /** At most 256 KiB: what is longer is several pieces. */
  readonly bytes: Uint8Array;
}

/** As of the record, the whole modified set: how many pages, and their digest (16 hexadecimal digits). */
export interface ModifiedSet {
  readonly modified_pages: number;
  readonly digest: string;
}

export function encodeHeader(head: RecordHead): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt32BE(MAGIC, 0);
  header.writeUInt16BE(RECORD_VERSION, 4);
  header.writeBigUInt64BE(BigInt(head.generation), 8);
  header.writeBigUInt64BE(BigInt(head.n), 16);
  header.writeBigInt64BE(head.since === "base" ? -1n : BigInt(head.since), 24);
  header.writeBigUInt64BE(BigInt(head.mark), 32);
  header.writeBigUInt64BE(BigInt(head.acked), 40);
  header.writeUInt32BE(crc32(header.subarray(0, 48)), 48);
  return header;
}

/** @throws RecordError when these bytes, at least a header's, are none. */
export function parseHeader(bytes: Buffer): RecordHead {
  if (bytes.readUInt32BE(0) !== MAGIC) throw new RecordError("there is none", 0);
  const version = bytes.readUInt16BE(4);
  if (version < RECORD_VERSION) {
    const why = `it is of version ${version}, of an older Ferryman; this one reads version ${RECORD_VERSION} only`;
    throw new RecordError(why, 4);
  }
  if (version !== RECORD_VERSION) throw new RecordError(`it is of version ${version}, this reads ${RECORD_VERSION}`, 4);
  if (crc32(bytes.subarray(0, 48)) !== bytes.readUInt32BE(48))
    throw new RecordError("its header has a wrong checksum", 48);
  if (bytes.readUInt16BE(6) !== 0) throw new RecordError("its header has flags that nobody knows", 6);
  const since = bytes.readBigInt64BE(24);
  return {
    generation: generation(count(bytes, 8)),
    n: transactionNumber(count(bytes, 16)),
    since: since === -1n ? "base" : transactionNumber(count(bytes, 24)),
    mark: frameNumber(count(bytes, 32)),
    acked: frameNumber(count(bytes, 40)),
  };
}

/** @throws RecordError when it is more than a number holds. */
export function count(bytes: Buffer, at: number, offset = at): number {
  const value = Number(bytes.readBigUInt64BE(at));
  if (!Number.isSafeInteger(value)) throw new RecordError("a number that is far too high", offset);
  return value;
}
