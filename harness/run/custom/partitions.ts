/** Where file systems are on a disk, by its partition table: MBR or GPT, or none at all. */

const SECTOR_BYTES = 512;
/** Table, and GPT's entries as everybody writes them: from the third sector on, 128 of 128 bytes. */
export const PARTITION_TABLE_BYTES = 34 * SECTOR_BYTES;
const MBR = { entries: 446, entry_bytes: 16, count: 4, type: 4, first: 8, signature: 510, gpt: 0xee } as const;
const GPT = { signature: "EFI PART", entries_at: 72, count: 80, entry_bytes: 84, first: 32, most: 128 } as const;

/** Of ext2, ext3 and ext4, in a file system's first bytes. */
export const EXT_MAGIC_AT = 1_080;
const EXT_MAGIC = 0xef53;

export interface Place {
  /** In words: "partition 1", "the whole disk". */
  readonly where: string;
  readonly at_bytes: number;
}

export function isExt(magic: Buffer): boolean {
  return magic.length >= 2 && magic.readUInt16LE(0) === EXT_MAGIC;
}

/** @param table the disk's first bytes; of what is cut off nothing is found */
export function partitionsIn(table: Buffer): readonly Place[] {
  const whole = [{ where: "the whole disk", at_bytes: 0 }];
  if (table.length < SECTOR_BYTES || table.readUInt16LE(MBR.signature) !== 0xaa55) return whole;
  const entries = Array.from({ length: MBR.count }, (_, n) => MBR.entries + n * MBR.entry_bytes);
  if (entries.some((at) => table[at + MBR.type] === MBR.gpt)) return gptIn(table);
  const found = entries.flatMap((at, n) =>
    table[at + MBR.type] === 0
      ? []
      : [{ where: `partition ${n + 1}`, at_bytes: table.readUInt32LE(at + MBR.first) * SECTOR_BYTES }],
  );
  return found.length === 0 ? whole : found;
}

function gptIn(table: Buffer): readonly Place[] {
  const header = table.subarray(SECTOR_BYTES, 2 * SECTOR_BYTES);
  if (header.length < SECTOR_BYTES || header.toString("latin1", 0, 8) !== GPT.signature) return [];
  const start = Number(header.readBigUInt64LE(GPT.entries_at)) * SECTOR_BYTES;
  const entry_bytes = header.readUInt32LE(GPT.entry_bytes);
  const count = Math.min(GPT.most, header.readUInt32LE(GPT.count));
  if (entry_bytes < 128) return [];
  return Array.from({ length: count }, (_, n) => ({ n, at: start + n * entry_bytes })).flatMap(({ n, at }) => {
    if (at + entry_bytes > table.length || table.subarray(at, at + 16).every((byte) => byte === 0)) return [];
    const first = Number(table.readBigUInt64LE(at + GPT.first)) * SECTOR_BYTES;
    return Number.isSafeInteger(first) ? [{ where: `partition ${n + 1}`, at_bytes: first }] : [];
  });
}
