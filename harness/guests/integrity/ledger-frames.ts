import { crc32 } from "node:zlib";

/** Frame format of the ledger protocol on COM2: fixtures/guests/integrity/README.md. All numbers are little-endian. */
export const FRAME_VERSION = 1;
export const HEADER_BYTES = 20;
export const PAYLOAD_BYTES_MAX = 64;
export const FRAME_BYTES_MAX = HEADER_BYTES + PAYLOAD_BYTES_MAX + 4;
const MAGIC = Buffer.from("FLG1", "latin1");

export const REQUEST_KINDS = { append: 1, read: 2, length: 3, hello: 4, verify: 5, reset: 6 } as const;
export type RequestName = keyof typeof REQUEST_KINDS;
/** Set in the kind of an answer. */
export const ANSWER_BIT = 0x80;
/** Kind of an answer that refuses; payload: code, kind of the request. */
export const KIND_REFUSED = 0xff;

/** What a refusal's code means: the guest has read the request and did not do it. */
export const REFUSALS: Readonly<Record<number, string>> = {
  1: "the ledger is full",
  2: "the payload does not fit the request",
  3: "the request is unknown",
  4: "this number was used before, with another value",
  5: "the version is unknown",
  6: "there is no such processor",
};

/** One frame, either way. Payloads are 32-bit words. */
export interface Frame {
  readonly version: number;
  readonly kind: number;
  readonly cpu: number;
  /** Who asks; an answer repeats it. */
  readonly client: number;
  /** The client's own running number; an answer repeats it. */
  readonly client_seq: number;
  /** The guest's own running number of answers; in a request, the last one seen (0: none). */
  readonly guest_seq: number;
  readonly payload: readonly number[];
}

/** Bytes of a frame. @throws RangeError when the payload is longer than 16 words. */
export function encodeFrame(frame: Frame): Buffer {
  const length = frame.payload.length * 4;
  if (length > PAYLOAD_BYTES_MAX)
    throw new RangeError(`a payload of ${length} bytes, at most ${PAYLOAD_BYTES_MAX} fit`);
  const bytes = Buffer.alloc(HEADER_BYTES + length + 4);
  MAGIC.copy(bytes);
  bytes.writeUInt8(frame.version, 4);
  bytes.writeUInt8(frame.kind, 5);
  bytes.writeUInt8(frame.cpu, 6);
  bytes.writeUInt8(length, 7);
  bytes.writeUInt32LE(frame.client, 8);
  bytes.writeUInt32LE(frame.client_seq, 12);
  bytes.writeUInt32LE(frame.guest_seq, 16);
  frame.payload.forEach((word, i) => {
    bytes.writeUInt32LE(word, HEADER_BYTES + i * 4);
  });
  bytes.writeUInt32LE(crc32(bytes.subarray(0, HEADER_BYTES + length)), HEADER_BYTES + length);
  return bytes;
}

/**
 * Takes bytes as they come and gives whole frames. What is no frame is skipped byte by byte (so that a frame behind a
 * damaged one is found) and counted. Holds back less than one frame.
 */
export class FrameDecoder {
  /** Bytes that belonged to no frame. */
  skipped_bytes = 0;
  private rest: Buffer = Buffer.alloc(0);

  push(bytes: Uint8Array): Frame[] {
    const data = this.rest.length === 0 ? Buffer.from(bytes) : Buffer.concat([this.rest, bytes]);
    const frames: Frame[] = [];
    let at = 0;
    while (data.length - at >= HEADER_BYTES + 4) {
      const length = data.readUInt8(at + 7);
      if (data.compare(MAGIC, 0, 4, at, at + 4) !== 0 || length > PAYLOAD_BYTES_MAX || length % 4 !== 0) {
        at++;
        this.skipped_bytes++;
        continue;
      }
      const end = at + HEADER_BYTES + length;
      if (end + 4 > data.length) break;
      if (crc32(data.subarray(at, end)) !== data.readUInt32LE(end)) {
        at++;
        this.skipped_bytes++;
        continue;
      }
      const payload = Array.from({ length: length / 4 }, (_, i) => data.readUInt32LE(at + HEADER_BYTES + i * 4));
      frames.push({
        version: data.readUInt8(at + 4),
        kind: data.readUInt8(at + 5),
        cpu: data.readUInt8(at + 6),
        client: data.readUInt32LE(at + 8),
        client_seq: data.readUInt32LE(at + 12),
        guest_seq: data.readUInt32LE(at + 16),
        payload,
      });
      at = end + 4;
    }
    this.rest = data.subarray(at);
    return frames;
  }
}
