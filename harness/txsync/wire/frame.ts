import { createCipheriv, timingSafeEqual } from "node:crypto";
import { crc32c } from "./crc32c.ts";

/**
 * Frames between agents, over any byte stream:
 *
 *     before the handshake is done   "Fy"  version u8  type u8  length u32 | payload | crc32c u32 (header, payload)
 *     from then on                   "Fy"  version u8  type u8  length u32 | payload | mac 16 bytes
 *
 * The mac is AES-256-GMAC (NIST SP 800-38D) over header and payload under a key of this connection and direction, with
 * the frame's number as its nonce; the number is not sent, so a frame that was replayed, dropped or put elsewhere does
 * not fit. It finds broken bytes as well as malice. All numbers are big-endian.
 */
export const WIRE_VERSION = 1;
const MAGIC = 0x4679;
const HEADER_BYTES = 8;
const CRC_BYTES = 4;
const MAC_BYTES = 16;
const NONCE_BYTES = 12;
/** Up to here a frame is joined into one piece: one write costs less than many. */
const JOINED_BYTES_MAX = 1 << 20;

export type FrameType = "hello" | "auth" | "message" | "data";
const TYPE_NUMBERS: Readonly<Record<FrameType, number>> = { hello: 1, auth: 2, message: 3, data: 4 };
const TYPES: readonly (FrameType | undefined)[] = [undefined, "hello", "auth", "message", "data"];

/** Longest payload of a type, bytes. A record of a whole guest goes as one message; `data` is cut by the shell. */
export const LENGTH_MAX: Readonly<Record<FrameType, number>> = {
  hello: 256,
  auth: 64,
  message: 1024 * 1024 * 1024,
  data: 4 * 1024 * 1024,
};

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

export class FrameEncoder {
  #key: Buffer | null = null;
  #number = 0n;

  /** From now on every frame is authenticated. */
  secure(key: Buffer): void {
    this.#key = key;
    this.#number = 0n;
  }

  /** One frame, in one piece unless it is long; then the payload's own pieces are not copied. */
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
    const pieces = length > JOINED_BYTES_MAX ? [header, ...payload] : [Buffer.concat([header, ...payload])];
    return [...pieces, this.#tail(pieces)];
  }

  #tail(pieces: readonly Uint8Array[]): Buffer {
    if (this.#key === null) return crcOf(pieces);
    const mac = macOf(this.#key, this.#number, pieces);
    this.#number += 1n;
    return mac;
  }
}

/** Takes the stream in pieces of any size; holds at most one frame. */
export class FrameDecoder {
  readonly #types: readonly FrameType[] | null;
  readonly #lengthMax: number;
  #key: Buffer | null = null;
  #number = 0n;
  #offset = 0;
  #pieces: Buffer[] = [];
  #held = 0;
  #header: { readonly type: FrameType; readonly length: number; readonly bytes: Buffer } | null = null;
  #failed: WireError | null = null;

  constructor(options: { readonly types?: readonly FrameType[]; readonly length_max?: number } = {}) {
    this.#types = options.types ?? null;
    this.#lengthMax = options.length_max ?? Number.POSITIVE_INFINITY;
  }

  secure(key: Buffer): void {
    this.#key = key;
    this.#number = 0n;
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
      this.#held = 0;
      throw error;
    }
  }

  push(chunk: Buffer): void {
    if (chunk.length === 0 || this.#failed !== null) return;
    this.#pieces.push(chunk);
    this.#held += chunk.length;
  }

  /** The stream ended. @throws WireError when it ended within a frame. */
  end(): void {
    if (this.#failed !== null) throw this.#failed;
    if (this.#held > 0 || this.#header !== null) throw new WireError("ended in the middle of a frame", this.#offset);
  }

  #next(): Frame | undefined {
    if (this.#header === null) {
      if (this.#held < HEADER_BYTES) return undefined;
      this.#header = this.#parseHeader(this.#take(HEADER_BYTES));
    }
    const { type, length, bytes } = this.#header;
    const tailBytes = this.#key === null ? CRC_BYTES : MAC_BYTES;
    if (this.#held < length + tailBytes) return undefined;
    const payload = this.#take(length);
    const tail = this.#take(tailBytes);
    if (this.#key === null) {
      if (!tail.equals(crcOf([bytes, payload])))
        throw new WireError(`a ${type} frame has a wrong checksum`, this.#offset);
    } else {
      if (!timingSafeEqual(tail, macOf(this.#key, this.#number, [bytes, payload]))) {
        throw new WireError(`a ${type} frame is not authentic`, this.#offset);
      }
      this.#number += 1n;
    }
    this.#header = null;
    this.#offset += HEADER_BYTES + length + tailBytes;
    return { type, payload };
  }

  #parseHeader(bytes: Buffer): { type: FrameType; length: number; bytes: Buffer } {
    if (bytes.readUInt16BE(0) !== MAGIC) throw new WireError("this is no agent", this.#offset);
    const version = bytes.readUInt8(2);
    if (version !== WIRE_VERSION) {
      throw new WireError(`the peer speaks version ${version}, this agent ${WIRE_VERSION}`, this.#offset);
    }
    const type = TYPES[bytes.readUInt8(3)];
    if (type === undefined) throw new WireError(`a frame of unknown type ${bytes.readUInt8(3)}`, this.#offset);
    if (this.#types !== null && !this.#types.includes(type))
      throw new WireError(`a ${type} frame is out of place`, this.#offset);
    // Nothing that is not authentic may make us wait for, or hold, more than a handshake needs.
    const before = this.#key === null && (type === "message" || type === "data");
    if (before) throw new WireError(`a ${type} frame came before the handshake was done`, this.#offset);
    const length = bytes.readUInt32BE(4);
    const most = Math.min(LENGTH_MAX[type], this.#lengthMax);
    if (length > most) throw new WireError(`a ${type} frame of ${length} bytes, more than ${most}`, this.#offset);
    return { type, length, bytes };
  }

  #take(count: number): Buffer {
    this.#held -= count;
    const first = this.#pieces[0];
    if (first !== undefined && first.length >= count) {
      if (first.length === count) this.#pieces.shift();
      else this.#pieces[0] = first.subarray(count);
      return first.subarray(0, count);
    }
    const out = Buffer.allocUnsafe(count);
    let at = 0;
    let used = 0;
    while (at < count) {
      const piece = this.#pieces[used] as Buffer;
      const n = Math.min(piece.length, count - at);
      piece.copy(out, at, 0, n);
      at += n;
      if (n === piece.length) used += 1;
      else this.#pieces[used] = piece.subarray(n);
    }
    this.#pieces.splice(0, used);
    return out;
  }
}

function crcOf(pieces: readonly Uint8Array[]): Buffer {
  const tail = Buffer.allocUnsafe(CRC_BYTES);
  tail.writeUInt32BE(
    pieces.reduce((crc, piece) => crc32c(piece, crc), 0),
    0,
  );
  return tail;
}

function macOf(key: Buffer, number: bigint, pieces: readonly Uint8Array[]): Buffer {
  const nonce = Buffer.alloc(NONCE_BYTES);
  nonce.writeBigUInt64BE(number, NONCE_BYTES - 8);
  const gmac = createCipheriv("aes-256-gcm", key, nonce);
  for (const piece of pieces) gmac.setAAD(piece);
  gmac.final();
  return gmac.getAuthTag();
}
