import { createHmac, timingSafeEqual } from "node:crypto";
import { crc32c } from "./crc32c.ts";

/**
 * Frames between agents, over any byte stream:
 *
 *     "Fy"  version u8  type u8  length u32 | payload | crc32c u32 (header, payload) | mac 16 bytes
 *
 * The mac is HMAC-SHA256, cut to 16 bytes, over the frame's number in its direction, header and payload; the number is
 * not sent, so a frame that was replayed, dropped or put elsewhere does not fit. Before the handshake is done frames
 * carry no mac (`hello`, `auth` only). All numbers are big-endian. The checksum finds broken memory, the mac malice.
 */
export const WIRE_VERSION = 1;
const MAGIC = 0x4679;
const HEADER_BYTES = 8;
const CRC_BYTES = 4;
const MAC_BYTES = 16;

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

  /** The pieces of one frame; the payload's own pieces are not copied. */
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
    let crc = crc32c(header);
    for (const piece of payload) crc = crc32c(piece, crc);
    const tail = Buffer.allocUnsafe(CRC_BYTES);
    tail.writeUInt32BE(crc, 0);
    if (this.#key === null) return [header, ...payload, tail];
    return [header, ...payload, tail, this.#mac(this.#key, header, payload)];
  }

  #mac(key: Buffer, header: Buffer, payload: readonly Uint8Array[]): Buffer {
    const mac = macOf(key, this.#number, header, payload);
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
    const macBytes = this.#key === null ? 0 : MAC_BYTES;
    if (this.#held < length + CRC_BYTES + macBytes) return undefined;
    const payload = this.#take(length);
    const crc = this.#take(CRC_BYTES).readUInt32BE(0);
    if (crc32c(payload, crc32c(bytes)) !== crc)
      throw new WireError(`a ${type} frame has a wrong checksum`, this.#offset);
    if (this.#key !== null) {
      const mac = this.#take(MAC_BYTES);
      if (!timingSafeEqual(mac, macOf(this.#key, this.#number, bytes, [payload]))) {
        throw new WireError(`a ${type} frame is not authentic`, this.#offset);
      }
      this.#number += 1n;
    }
    this.#header = null;
    this.#offset += HEADER_BYTES + length + CRC_BYTES + macBytes;
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

function macOf(key: Buffer, number: bigint, header: Uint8Array, payload: readonly Uint8Array[]): Buffer {
  const count = Buffer.allocUnsafe(8);
  count.writeBigUInt64BE(number, 0);
  const hmac = createHmac("sha256", key).update(count).update(header);
  for (const piece of payload) hmac.update(piece);
  return hmac.digest().subarray(0, MAC_BYTES);
}
