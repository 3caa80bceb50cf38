import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { isExt, PARTITION_TABLE_BYTES, partitionsIn } from "./partitions.ts";

function mbr(...entries: readonly (readonly [type: number, first: number])[]): Buffer {
  const table = Buffer.alloc(PARTITION_TABLE_BYTES);
  for (const [n, [type, first]] of entries.entries()) {
    table[446 + n * 16 + 4] = type;
    table.writeUInt32LE(first, 446 + n * 16 + 8);
  }
  table.writeUInt16LE(0xaa55, 510);
  return table;
}

describe("a partition table", () => {
  it("of the old kind tells where its partitions begin", () => {
    expect(partitionsIn(mbr([0x83, 2048], [0, 0], [0x82, 8192]))).toEqual([
      { where: "partition 1", at_bytes: 1024 ** 2 },
      { where: "partition 3", at_bytes: 4 * 1024 ** 2 },
    ]);
  });

  it("of the new kind does too", () => {
    const table = mbr([0xee, 1]);
    table.write("EFI PART", 512, "latin1");
    table.writeBigUInt64LE(2n, 512 + 72);
    table.writeUInt32LE(128, 512 + 80);
    table.writeUInt32LE(128, 512 + 84);
    table.fill(7, 1024 + 128, 1024 + 144);
    table.writeBigUInt64LE(4096n, 1024 + 128 + 32);
    expect(partitionsIn(table)).toEqual([{ where: "partition 2", at_bytes: 2 * 1024 ** 2 }]);
  });

  it("that is none leaves the whole disk", () => {
    expect(partitionsIn(Buffer.alloc(PARTITION_TABLE_BYTES))).toEqual([{ where: "the whole disk", at_bytes: 0 }]);
    expect(partitionsIn(mbr())).toEqual([{ where: "the whole disk", at_bytes: 0 }]);
  });

  it("may hold anything", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: PARTITION_TABLE_BYTES }), fc.boolean(), (bytes, gpt) => {
        const table = gpt ? mbr([0xee, 1]) : mbr([0x83, 1]);
        table.write("EFI PART", 512, "latin1");
        Buffer.from(bytes).copy(table, gpt ? 520 : 0);
        for (const { at_bytes } of partitionsIn(table)) expect(at_bytes).toBeGreaterThanOrEqual(0);
        expect(isExt(Buffer.from(bytes.subarray(0, 2)))).toBe(bytes[0] === 0x53 && bytes[1] === 0xef);
      }),
    );
  });
});
