import { crc32 } from "node:zlib";
import { PAGE_BYTES } from "../../base/page.ts";

/**
 * CRC-32 (zlib's) of pages, each byte read once: a page's digest needs the checksums of its two halves, the record that
 * holds it one over everything, and the second follows from the first. For checksums of a and of b, that of a and b
 * together is shift(crc(a), length of b) ^ crc(b), and shift is linear over GF(2) (zlib, crc32.c, crc32_combine).
 */
export const HALF_BYTES = PAGE_BYTES / 2;
const ZEROS = Buffer.alloc(HALF_BYTES);
/** Of half a page of zeros. */
export const ZERO_HALF_CRC = crc32(ZEROS) | 0;

const [S0, S1, S2, S3] = shiftTables();

function shiftTables(): [Int32Array, Int32Array, Int32Array, Int32Array] {
  const table = (): Int32Array => new Int32Array(256);
  const tables: [Int32Array, Int32Array, Int32Array, Int32Array] = [table(), table(), table(), table()];
  for (const [t, entries] of tables.entries()) {
    for (let value = 0; value < 256; value += 1)
      entries[value] = crc32(ZEROS, (value << (8 * t)) >>> 0) ^ ZERO_HALF_CRC;
  }
  return tables;
}

/** The checksum `before` with half a page behind it whose own checksum is `half`; 32 bits, signed or not. */
export function withHalf(before: number, half: number): number {
  return (
    ((S0[before & 255] as number) ^
      (S1[(before >>> 8) & 255] as number) ^
      (S2[(before >>> 16) & 255] as number) ^
      (S3[before >>> 24] as number) ^
      half) |
    0
  );
}

/** So many pages are looked at in one go. */
const BATCH_PAGES = 64;
const batch = Buffer.alloc(BATCH_PAGES * PAGE_BYTES);
/** Made once: a view for every half page of every record would be most of the garbage of an agent. */
const halves = Array.from({ length: BATCH_PAGES * 2 }, (_, i) => batch.subarray(i * HALF_BYTES, (i + 1) * HALF_BYTES));

/** Writes the checksums of every page's two halves, as signed 32 bits, to `out`: of page i at 2i and 2i + 1. */
export function halfCrcs(content: Uint8Array, out: Int32Array): void {
  for (let at = 0; at < content.length; at += batch.length) {
    const piece = content.subarray(at, Math.min(at + batch.length, content.length));
    batch.set(piece);
    const from = at / HALF_BYTES;
    const count = piece.length / HALF_BYTES;
    for (let i = 0; i < count; i += 1) out[from + i] = crc32(halves[i] as Buffer);
  }
}
