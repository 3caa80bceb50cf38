import { randomBytes } from "node:crypto";
import { crc32 } from "node:zlib";
import { RecordError } from "./record.ts";

/**
 * A log file, big-endian:
 *
 *     header  "FTXL" u16 version u16 0 | lineage 16 bytes | u32 0 | crc32 u32
 *     then, any number of times: a record (`record.ts`) | its commit mark
 *     mark    "FTXK" | u32 checksum of the record as it came | u32 n, low bits | crc32 u32 of these 12 bytes, going on
 *             from the checksum of the record that lies before it
 *
 * A record without its mark was received and not committed: it is cut off when the log is opened, however whole it is.
 * The two checksums differ where compaction wrote the record: the first is the name by which a repeat is known.
 */
export const LOG_VERSION = 3;
export const FILE_HEADER_BYTES = 32;
export const MARK_BYTES = 16;
const FILE_MAGIC = 0x4654584c;
const RECORD_MAGIC = 0x46545852;
const MARK_MAGIC = 0x4654584b;
const FILE_NAME = /^txlog-(\d{8})$/;

export function fileName(number: number): string {
  return `txlog-${String(number).padStart(8, "0")}`;
}

/** Numbers of the logs among these names, the highest first: that one counts. */
export function logNumbers(names: readonly string[]): number[] {
  return names.flatMap((name) => (FILE_NAME.test(name) ? [Number(name.slice(6))] : [])).sort((a, b) => b - a);
}

/** A log that begins anew: 32 hexadecimal digits. */
export function newLineage(): string {
  return randomBytes(16).toString("hex");
}

export function encodeFileHeader(lineage: string): Buffer {
  const header = Buffer.alloc(FILE_HEADER_BYTES);
  header.writeUInt32BE(FILE_MAGIC, 0);
  header.writeUInt16BE(LOG_VERSION, 4);
  header.write(lineage, 8, "hex");
  header.writeUInt32BE(crc32(header.subarray(0, 28)), 28);
  return header;
}

/** @returns the lineage. @throws RecordError when these bytes are no header of this version. */
export function parseFileHeader(bytes: Buffer): string {
  if (bytes.length >= 4 && bytes.readUInt32BE(0) === RECORD_MAGIC) throw new LogVersionError(1);
  if (bytes.length < FILE_HEADER_BYTES) throw new RecordError("the log's header is cut off", bytes.length);
  if (bytes.readUInt32BE(0) !== FILE_MAGIC || crc32(bytes.subarray(0, 28)) !== bytes.readUInt32BE(28))
    throw new RecordError("there is no log", 0);
  const version = bytes.readUInt16BE(4);
  if (version !== LOG_VERSION) throw new LogVersionError(version);
  return bytes.toString("hex", 8, 24);
}

/** A log of another Ferryman: it is not cut off, and not touched. */
export class LogVersionError extends Error {
  override readonly name = "LogVersionError";

  constructor(version: number) {
    super(
      `the transaction log is of version ${version}, this Ferryman reads version ${LOG_VERSION} only: remove it, or look at it with the Ferryman that wrote it`,
    );
  }
}

/** @param stored checksum of the record before the mark @param came the one under which it came */
export function encodeMark(n: number, stored: number, came: number): Buffer {
  const mark = Buffer.alloc(MARK_BYTES);
  mark.writeUInt32BE(MARK_MAGIC, 0);
  mark.writeUInt32BE(came, 4);
  mark.writeUInt32BE(n >>> 0, 8);
  mark.writeUInt32BE(crc32(mark.subarray(0, 12), stored), 12);
  return mark;
}

/** @returns the checksum under which the record came. @throws RecordError when it was not committed. */
export function parseMark(bytes: Buffer, n: number, stored: number, offset: number): number {
  const sound =
    bytes.length === MARK_BYTES &&
    bytes.readUInt32BE(0) === MARK_MAGIC &&
    bytes.readUInt32BE(8) === n >>> 0 &&
    bytes.readUInt32BE(12) === crc32(bytes.subarray(0, 12), stored);
  if (!sound) throw new RecordError("it was not committed", offset);
  return bytes.readUInt32BE(4);
}
