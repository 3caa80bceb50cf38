import { PAGE_BYTES } from "../../base/page.ts";

/** Content of the Linux guest's pages, in memory and on disk; the same as fixtures/guests/linux/src/pattern.c. */

const MASK = (1n << 64n) - 1n;
const GOLDEN = 0x9e3779b97f4a7c15n;
/** "FRRYLINX" in memory. */
const MAGIC = 0x584e494c59525246n;
const WORDS = PAGE_BYTES / 8;

/** The finalizer of splitmix64 (Steele, Lea and Flood, OOPSLA 2014). */
function mix(a: bigint, b: bigint): bigint {
  let z = (a + b * GOLDEN + GOLDEN) & MASK;
  z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & MASK;
  z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & MASK;
  return z ^ (z >> 31n);
}

/** The page of that name in that version, as it has to be. */
export function patternPage(seed: number, page: number, version: number): Buffer {
  const bytes = Buffer.alloc(PAGE_BYTES);
  const key = mix(mix(BigInt(seed), BigInt(page)), BigInt(version));
  bytes.writeBigUInt64LE(MAGIC, 0);
  bytes.writeUInt32LE(version, 8);
  bytes.writeUInt32LE(page, 12);
  bytes.writeBigUInt64LE(BigInt(seed), 16);
  for (let word = 3; word < WORDS; word++) {
    const z = ((key + BigInt(word)) * GOLDEN) & MASK;
    bytes.writeBigUInt64LE(z ^ (z >> 32n), word * 8);
  }
  return bytes;
}

/** The version that a page is in, 0 where it is empty, "torn" where it is no whole version of the page of that name. */
export function versionOf(bytes: Buffer, seed: number, page: number): number | "torn" {
  if (bytes.every((byte) => byte === 0)) return 0;
  const version = bytes.readUInt32LE(8);
  return patternPage(seed, page, version).equals(bytes) ? version : "torn";
}
