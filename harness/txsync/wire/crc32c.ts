/** CRC32C (Castagnoli, RFC 3720 appendix B.4), eight bytes at a time. */
const TABLES: readonly Uint32Array[] = makeTables();

function makeTables(): Uint32Array[] {
  const first = new Uint32Array(256);
  for (let i = 0; i < 256; i += 1) {
    let c = i;
    for (let bit = 0; bit < 8; bit += 1) c = c & 1 ? (c >>> 1) ^ 0x82f63b78 : c >>> 1;
    first[i] = c >>> 0;
  }
  const tables = [first];
  for (let t = 1; t < 8; t += 1) {
    const before = tables[t - 1] as Uint32Array;
    const next = new Uint32Array(256);
    for (let i = 0; i < 256; i += 1) {
      const c = before[i] as number;
      next[i] = ((first[c & 0xff] as number) ^ (c >>> 8)) >>> 0;
    }
    tables.push(next);
  }
  return tables;
}

const [T0, T1, T2, T3, T4, T5, T6, T7] = TABLES as unknown as [
  Uint32Array,
  Uint32Array,
  Uint32Array,
  Uint32Array,
  Uint32Array,
  Uint32Array,
  Uint32Array,
  Uint32Array,
];

/** Checksum of `bytes`, going on from the checksum `before` of what came ahead of them. */
export function crc32c(bytes: Uint8Array, before = 0): number {
  let c = ~before;
  let i = 0;
  const eights = bytes.length - 7;
  for (; i < eights; i += 8) {
    c ^=
      (bytes[i] as number) |
      ((bytes[i + 1] as number) << 8) |
      ((bytes[i + 2] as number) << 16) |
      ((bytes[i + 3] as number) << 24);
    c =
      (T7[c & 0xff] as number) ^
      (T6[(c >>> 8) & 0xff] as number) ^
      (T5[(c >>> 16) & 0xff] as number) ^
      (T4[c >>> 24] as number) ^
      (T3[bytes[i + 4] as number] as number) ^
      (T2[bytes[i + 5] as number] as number) ^
      (T1[bytes[i + 6] as number] as number) ^
      (T0[bytes[i + 7] as number] as number);
  }
  for (; i < bytes.length; i += 1) c = (c >>> 8) ^ (T0[(c ^ (bytes[i] as number)) & 0xff] as number);
  return ~c >>> 0;
}
