import * as z from "zod";
import { messageOf } from "../../base/errors.ts";
import { PageFrameError } from "./page-frames.ts";

/**
 * A record on its way, in pieces; payloads of `data` frames, big-endian:
 *
 *     u8 5 | u8 purpose | u32 stream | u8 flags: 1 first, 2 last | first: u16 length, JSON | bytes of the record
 *
 * A stream that is begun anew, under another number, takes the place of the one before it; what is left of that one is
 * not wanted any more.
 */
export const FRAME_RECORD = 5;
/** A transaction on its way to the log; or what somebody asked of the log. */
const PURPOSES = ["append", "answer"] as const;
export type RecordPurpose = (typeof PURPOSES)[number];
const HEAD_BYTES = 7;
const FIRST = 1;
const LAST = 2;

/** Of an answer: the log that it comes from. Two transactions of one number are the same only in one log. */
const metaSchema = z.strictObject({ lineage: z.string().max(64) });
export type RecordMeta = z.infer<typeof metaSchema>;

export interface RecordPiece {
  readonly purpose: RecordPurpose;
  readonly stream: number;
  /** In the first piece. */
  readonly meta: RecordMeta | null;
  readonly last: boolean;
  readonly bytes: Buffer;
}

export function encodeRecordPiece(piece: {
  readonly purpose: RecordPurpose;
  readonly stream: number;
  readonly meta: RecordMeta | null;
  readonly last: boolean;
  readonly bytes: readonly Uint8Array[];
}): Uint8Array[] {
  const head = Buffer.alloc(HEAD_BYTES);
  head.writeUInt8(FRAME_RECORD, 0);
  head.writeUInt8(PURPOSES.indexOf(piece.purpose), 1);
  head.writeUInt32BE(piece.stream, 2);
  head.writeUInt8((piece.meta === null ? 0 : FIRST) | (piece.last ? LAST : 0), 6);
  if (piece.meta === null) return [head, ...piece.bytes];
  const json = Buffer.from(JSON.stringify(piece.meta));
  const length = Buffer.alloc(2);
  length.writeUInt16BE(json.length);
  return [head, length, json, ...piece.bytes];
}

/** @throws PageFrameError when these bytes are no piece of a record. */
export function decodeRecordPiece(bytes: Buffer): RecordPiece {
  if (bytes.length < HEAD_BYTES) throw new PageFrameError("a piece of a record without a head");
  const purpose = PURPOSES[bytes[1] as number];
  const flags = bytes[6] as number;
  if (purpose === undefined || (flags & ~(FIRST | LAST)) !== 0) throw new PageFrameError("a piece of no known record");
  const head = { purpose, stream: bytes.readUInt32BE(2), last: (flags & LAST) !== 0 };
  if ((flags & FIRST) === 0) return { ...head, meta: null, bytes: bytes.subarray(HEAD_BYTES) };
  try {
    const at = HEAD_BYTES + 2 + bytes.readUInt16BE(HEAD_BYTES);
    if (at > bytes.length) throw new RangeError("it is cut off");
    const meta = metaSchema.parse(JSON.parse(bytes.toString("utf8", HEAD_BYTES + 2, at)));
    return { ...head, meta, bytes: bytes.subarray(at) };
  } catch (error) {
    throw new PageFrameError(`the first piece of a record makes no sense (${messageOf(error)})`);
  }
}
