import { createCipheriv, createSecretKey, type KeyObject, timingSafeEqual } from "node:crypto";
import { crc32 } from "node:zlib";
import type { BufferPool } from "./buffer-pool.ts";

/**
 * Frames between agents, over any byte stream:
 *
 *     before the handshake is done   "Fy"  version u8  type u8  length u32 | payload | crc32 u32 (header, payload)
 *     from then on                   "Fy"  version u8  type u8  length u32 | payload | mac 16 bytes
 *
 * The mac is AES-256-GMAC (NIST SP 800-38D) over header and payload under a key of this connection and direction, with
 * the frame's number as its nonce; the number is not sent, so a frame that was replayed, dropped or put elsewhere does
 * not fit. It finds broken bytes as well as malice. The length is believed before the mac is seen, so a receiver bounds
 * it by what its channel needs: a bit that flips there costs no more than that. All numbers are big-endian.
 */
export const WIRE_VERSION = 3;
const MAGIC = 0x4679;
const HEADER_BYTES = 8;
const CRC_BYTES = 4;
const MAC_BYTES = 16;
const NONCE_BYTES = 12;
/** Up to here a frame is joined into one piece: one write costs less than many. Beyond, what is short goes with its head. */
const JOINED_BYTES_MAX = 16 * 1024;

export type FrameType = "hello" | "auth" | "message" | "data";
const TYPE_NUMBERS: Readonly<Record<FrameType, number>> = { hello: 1, auth: 2, message: 3, data: 4 };
const TYPES: readonly (FrameType | undefined)[] = [undefined, "hello", "auth", "message", "data"];

/** Longest payload of a type, bytes. The longest message is a package; what is longer goes in pieces, as `data`. */
export const LENGTH_MAX: Readonly<Record<FrameType, number>> = {
  hello: 256,
  auth: 64,
  message: 8 * 2 ** 20 + 64 * 1024,
  data: 2 * 2 ** 20,
};

/** With so many frames under one key the connection has to be made anew: a nonce must never come twice. */
export const FRAMES_MAX = 2 ** 48;

export interface Frame {
  readonly type: FrameType;
  readonly payload: Buffer;
}

/** The peer speaks something else, something broke on the way, or somebody meddled. The connection is to be closed. */
export class WireError extends Error {
  override readonly name = "WireError";
  /** Bytes of the stream before the frame that is wrong. */
  readonly offset: number;

  constructor(what: string, offset: number) {
    super(`agent connection: ${what} at byte ${offset}`);
    this.offset = offset;
  }
}

export interface KeyOptions {
  /** For tests: the number of the first frame under the key. */
  readonly number?: number;
}

export class FrameEncoder {
  #key: KeyObject | null = null;
  #number = 0;

  /** From now on every frame is authenticated. @throws Error the second time: numbers would begin again. */
  secure(key: Buffer, { number = 0 }: KeyOptions = {}): void {
    if (this.#key !== null) throw new Error("the connection has its key already");
    this.#key = createSecretKey(key);
    this.#number = number;
  }

  /** One frame, in one piece unless it is long; then the payload's own long pieces are not copied. */
  encode(type: FrameType, payload: readonly Uint8Array[]): Uint8Array[] {
    let length = 0;
    for (const piece of payload) length += piece.length;
    if (length > LENGTH_MAX[type])
      throw new RangeError(`a ${type} frame of ${length} bytes is longer than ${LENGTH_MAX[type]}`);
    const header = Buffer.allocUnsafe(HEADER_BYTES);
    header.writeUInt16BE(MAGIC, 0);
    header.writeUInt8(WIRE_VERSION, 2);
    header.writeUInt8(TYPE_NUMBERS[type], 3);
    header.writeUInt32BE(length, 4);
    const long = length > JOINED_BYTES_MAX ? payload.findIndex((piece) => piece.length >= JOINED_BYTES_MAX) : -1;
    const joined = long < 0 ? payload : payload.slice(0, long);
    const pieces = [Buffer.concat([header, ...joined]), ...payload.slice(joined.length)];
    return [...pieces, this.#tail(pieces)];
  }

  #tail(pieces: readonly Uint8Array[]): Buffer {
    if (this.#key === null) return crcOf(pieces);
    if (this.#number >= FRAMES_MAX) throw new RangeError("the connection has sent all frames that its key allows");
    const mac = macOf(this.#key, this.#number, pieces);
    this.#number += 1;
    return mac;
  }
}

/**
 * Takes the stream in pieces of any size. Each byte is copied once, into the frame that it belongs to, so the memory in
 * which it came may be used for the next piece: see `keep`. Holds at most one frame beside what was kept.
 */
export class FrameDecoder {
  readonly #types: readonly FrameType[] | null;
  readonly #buffers: BufferPool | null;
  #length_max: number;
  #key: KeyObject | null = null;
  #number = 0;
  #offset = 0;
  /** Came, and is in no frame yet. */
  #pieces: Buffer[] = [];
  /** Of the first of them. */
  #used = 0;
  readonly #head = Buffer.alloc(HEADER_BYTES);
  readonly #tail = Buffer.alloc(MAC_BYTES);
  #frame: { readonly type: FrameType; readonly payload: Buffer } | null = null;
  /** Bytes of the present frame that are there: of head, payload and tail together. */
  #have = 0;
  #failed: WireError | null = null;

  /**
   * @param options `length_max`: longest payload of any type, bytes, until `limit` says something else; `buffers`: where
   * payloads are put, whose owner is whoever gets the frame
   */
  constructor(
    options: {
      readonly types?: readonly FrameType[];
      readonly length_max?: number;
      readonly buffers?: BufferPool;
    } = {},
  ) {
    this.#types = options.types ?? null;
    this.#length_max = options.length_max ?? Number.POSITIVE_INFINITY;
    this.#buffers = options.buffers ?? null;
  }

  /** @throws Error the second time. */
  secure(key: Buffer, { number = 0 }: KeyOptions = {}): void {
    if (this.#key !== null) throw new Error("the connection has its key already");
    this.#key = createSecretKey(key);
    this.#number = number;
  }

  /** From the next frame on no payload is longer: what the channel is for is known now. */
  limit(length_max: number): void {
    this.#length_max = length_max;
  }

  /**
   * The next frame, if it is whole. Feed with `push`, then call until it returns undefined: the key may be set between
   * two frames of one piece.
   * @throws WireError, from then on for ever.
   */
  next(): Frame | undefined {
    if (this.#failed !== null) throw this.#failed;
    try {
      return this.#next();
    } catch (error) {
      if (error instanceof WireError) this.#failed = error;
      this.#pieces = [];
      this.#used = 0;
      throw error;
    }
  }

  /** The bytes must stay as they are until they are in a frame, or `keep` is called. */
  push(chunk: Buffer): void {
    if (chunk.length === 0 || this.#failed !== null) return;
    this.#pieces.push(chunk);
  }

  /** What was pushed and is in no frame yet is copied: its memory may be used again. */
  keep(): void {
    if (this.#pieces.length === 0) return;
    const first = this.#pieces[0] as Buffer;
    const left = [first.subarray(this.#used), ...this.#pieces.slice(1)];
    this.#pieces = [Buffer.concat(left)];
    this.#used = 0;
  }

  /** The stream ended. @throws WireError when it ended within a frame. */
  end(): void {
    if (this.#failed !== null) throw this.#failed;
    if (this.#have > 0 || this.#pieces.length > 0) throw new WireError("ended in the middle of a frame", this.#offset);
  }

  #next(): Frame | undefined {
    if (this.#frame === null) {
      if (!this.#fill(this.#head, 0)) return undefined;
      const { type, length } = this.#parseHeader();
      const payload = this.#buffers === null ? Buffer.allocUnsafe(length) : this.#buffers.take(length);
      this.#frame = { type, payload };
    }
    const { type, payload } = this.#frame;
    if (!this.#fill(payload, HEADER_BYTES)) return undefined;
    const tail = this.#key === null ? this.#tail.subarray(0, CRC_BYTES) : this.#tail;
    if (!this.#fill(tail, HEADER_BYTES + payload.length)) return undefined;
    if (this.#key === null) {
      if (!tail.equals(crcOf([this.#head, payload])))
        throw new WireError(`a ${type} frame has a wrong checksum`, this.#offset);
    } else {
      if (this.#number >= FRAMES_MAX) throw new WireError("more frames than the key allows", this.#offset);
      if (!timingSafeEqual(tail, macOf(this.#key, this.#number, [this.#head, payload]))) {
        throw new WireError(`a ${type} frame is not authentic`, this.#offset);
      }
      this.#number += 1;
    }
    this.#frame = null;
    this.#have = 0;
    this.#offset += HEADER_BYTES + payload.length + tail.length;
    return { type, payload };
  }

  #parseHeader(): { type: FrameType; length: number } {
    const bytes = this.#head;
    if (bytes.readUInt16BE(0) !== MAGIC) throw new WireError("this is no agent", this.#offset);
    const version = bytes.readUInt8(2);
    if (version !== WIRE_VERSION) {
      throw new WireError(`the peer speaks version ${version}, this agent ${WIRE_VERSION}`, this.#offset);
    }
    const type = TYPES[bytes.readUInt8(3)];
    if (type === undefined) throw new WireError(`a frame of unknown type ${bytes.readUInt8(3)}`, this.#offset);
    if (this.#types !== null && !this.#types.includes(type))
      throw new WireError(`a ${type} frame is out of place`, this.#offset);
    // Whoever is not known yet cannot make us wait for, or hold, more than a handshake needs.
    const before = this.#key === null && (type === "message" || type === "data");
    if (before) throw new WireError(`a ${type} frame came before the handshake was done`, this.#offset);
    const length = bytes.readUInt32BE(4);
    const most = Math.min(LENGTH_MAX[type], this.#length_max);
    if (length > most) throw new WireError(`a ${type} frame of ${length} bytes, more than ${most}`, this.#offset);
    return { type, length };
  }

  /** Fills a part of the frame that begins at byte `from` of it. @returns whether it is full */
  #fill(part: Buffer, from: number): boolean {
    let at = this.#have - from;
    while (at < part.length) {
      const piece = this.#pieces[0];
      if (piece === undefined) break;
      const count = Math.min(piece.length - this.#used, part.length - at);
      piece.copy(part, at, this.#used, this.#used + count);
      at += count;
      this.#used += count;
      if (this.#used < piece.length) continue;
      this.#pieces.shift();
      this.#used = 0;
    }
    this.#have = Math.max(this.#have, from + at);
    return at >= part.length;
  }
}

function crcOf(pieces: readonly Uint8Array[]): Buffer {
  const tail = Buffer.allocUnsafe(CRC_BYTES);
  tail.writeUInt32BE(
    pieces.reduce((crc, piece) => crc32(piece, crc), 0),
    0,
  );
  return tail;
}

function macOf(key: KeyObject, number: number, pieces: readonly Uint8Array[]): Buffer {
  const nonce = Buffer.alloc(NONCE_BYTES);
  nonce.writeUIntBE(number, NONCE_BYTES - 6, 6);
  const gmac = createCipheriv("aes-256-gcm", key, nonce);
  for (const piece of pieces) gmac.setAAD(piece);
  gmac.final();
  return gmac.getAuthTag();
}
