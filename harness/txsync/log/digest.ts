import { crc32 } from "node:zlib";
import { HALF_BYTES, ZERO_HALF_CRC } from "./crc.ts";

/**
 * Digest of the modified set: which pages, with what content, in no order. The same in C (fixtures/native/pagescan);
 * `digest-vectors.json` holds both to it.
 *
 *     seed  = crc32 of the RAM block's name
 *     a, b  = crc32 of the page's first and last 2048 bytes
 *     lane1 = fmix32(a ^ imul(page + 1, 0x9E3779B1) ^ seed)
 *     lane2 = fmix32(b ^ imul(page + 1, 0x85EBCA77) ^ rotl32(seed, 16) ^ lane1)
 *     set   = (sum of lane1 mod 2^32, sum of lane2 mod 2^32) and the number of pages
 *
 * It finds mistakes (a page left out, of another moment, in another place), not malice: frames are authenticated.
 * Lanes and sums are kept as signed 32 bits, which V8 holds without allocating; only what is written is unsigned.
 */

/** @param name the RAM block, as the migration stream names it */
export function blockSeed(name: string): number {
  return crc32(Buffer.from(name)) | 0;
}

/** MurmurHash3's finalizer. */
function fmix32(value: number): number {
  let h = value;
  h ^= h >>> 16;
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  return h ^ (h >>> 16);
}

/** The first lane, of the checksum of the page's first half. */
export function lane1Of(seed: number, page: number, a: number): number {
  return fmix32(a ^ Math.imul(page + 1, 0x9e3779b1) ^ seed);
}

/** The second lane, of the checksum of the page's second half and the first lane. */
export function lane2Of(seed: number, page: number, b: number, lane1: number): number {
  return fmix32(b ^ Math.imul(page + 1, 0x85ebca77) ^ ((seed << 16) | (seed >>> 16)) ^ lane1);
}

export interface Lanes {
  readonly lane1: number;
  readonly lane2: number;
}

/** Lanes of one page; `null` is a page of zeros. For many pages at a time: `halfCrcs`, `lane1Of`, `lane2Of`. */
export function pageLanes(seed: number, page: number, bytes: Uint8Array | null): Lanes {
  const a = bytes === null ? ZERO_HALF_CRC : crc32(bytes.subarray(0, HALF_BYTES));
  const b = bytes === null ? ZERO_HALF_CRC : crc32(bytes.subarray(HALF_BYTES));
  const lane1 = lane1Of(seed, page, a);
  return { lane1, lane2: lane2Of(seed, page, b, lane1) };
}

/** The digest of a set of pages that grows and changes. */
export class DigestSum {
  #lane1 = 0;
  #lane2 = 0;
  #pages = 0;

  get pages(): number {
    return this.#pages;
  }

  add(lane1: number, lane2: number): void {
    this.#lane1 = (this.#lane1 + lane1) | 0;
    this.#lane2 = (this.#lane2 + lane2) | 0;
    this.#pages += 1;
  }

  remove(lane1: number, lane2: number): void {
    this.#lane1 = (this.#lane1 - lane1) | 0;
    this.#lane2 = (this.#lane2 - lane2) | 0;
    this.#pages -= 1;
  }

  copy(): DigestSum {
    const copy = new DigestSum();
    copy.#lane1 = this.#lane1;
    copy.#lane2 = this.#lane2;
    copy.#pages = this.#pages;
    return copy;
  }

  equals(other: DigestSum): boolean {
    return this.#lane1 === other.#lane1 && this.#lane2 === other.#lane2 && this.#pages === other.#pages;
  }

  /** 16 hexadecimal digits, the first lane first. The number of pages is not in them. */
  get hex(): string {
    return digestHex(this.#lane1, this.#lane2);
  }
}

export function digestHex(lane1: number, lane2: number): string {
  return [lane1, lane2].map((lane) => (lane >>> 0).toString(16).padStart(8, "0")).join("");
}
