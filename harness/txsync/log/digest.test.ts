import { readFileSync } from "node:fs";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { PAGE_BYTES } from "../../base/page.ts";
import { halfCrcs, withHalf } from "./crc.ts";
import { blockSeed, DigestSum, lane1Of, lane2Of, pageLanes } from "./digest.ts";

interface Vectors {
  readonly pages: readonly {
    block: string;
    page: number;
    repeat_hex: string;
    seed: string;
    lane1: string;
    lane2: string;
  }[];
  readonly sets: readonly { members: readonly number[]; pages: number; digest: string }[];
}

/** Written by another implementation, bit by bit with big integers. */
const vectors = JSON.parse(readFileSync(join(import.meta.dirname, "digest-vectors.json"), "utf8")) as Vectors;
const hex = (value: number): string => (value >>> 0).toString(16).padStart(8, "0");

describe("the digest", () => {
  it("gives the values that the native helper gives", () => {
    for (const { block, page, repeat_hex, seed, lane1, lane2 } of vectors.pages) {
      const bytes = Buffer.alloc(PAGE_BYTES, Buffer.from(repeat_hex, "hex"));
      const lanes = pageLanes(blockSeed(block), page, bytes);
      expect([hex(blockSeed(block)), hex(lanes.lane1), hex(lanes.lane2)]).toEqual([seed, lane1, lane2]);
      if (bytes.every((byte) => byte === 0)) expect(pageLanes(blockSeed(block), page, null)).toEqual(lanes);
    }
    for (const { members, pages, digest } of vectors.sets) {
      const sum = new DigestSum();
      for (const i of members) {
        const { block, page, repeat_hex } = vectors.pages[i] as Vectors["pages"][number];
        const bytes = Buffer.alloc(PAGE_BYTES, Buffer.from(repeat_hex, "hex"));
        const { lane1, lane2 } = pageLanes(blockSeed(block), page, bytes);
        sum.add(lane1, lane2);
      }
      expect([sum.pages, sum.hex]).toEqual([pages, digest]);
    }
  });

  it("depends on what is in the set and not on how it came to be", () => {
    const page = fc.tuple(fc.nat(40), fc.nat(3));
    fc.assert(
      fc.property(fc.array(page, { maxLength: 30 }), (writes) => {
        const seed = blockSeed("ram0");
        const lanes = (at: number, fill: number) =>
          pageLanes(seed, at, fill === 0 ? null : Buffer.alloc(PAGE_BYTES, fill));
        const held = new Map<number, number>();
        const sum = new DigestSum();
        for (const [at, fill] of writes) {
          const before = held.get(at);
          if (before !== undefined) sum.remove(lanes(at, before).lane1, lanes(at, before).lane2);
          held.set(at, fill);
          sum.add(lanes(at, fill).lane1, lanes(at, fill).lane2);
        }
        const anew = new DigestSum();
        for (const [at, fill] of [...held].sort(([a], [b]) => b - a)) {
          anew.add(lanes(at, fill).lane1, lanes(at, fill).lane2);
        }
        expect(anew.equals(sum)).toBe(true);
        expect(anew.hex).toBe(sum.hex);
        expect(sum.copy().equals(sum)).toBe(true);
      }),
      { numRuns: 50 },
    );
  });

  it("is the same for many pages at a time, and their checksum follows from those of the halves", () => {
    const content = Buffer.alloc(150 * PAGE_BYTES);
    for (let at = 0; at < content.length; at += 4) content.writeUInt32LE(Math.imul(at, 2654435761) >>> 0, at);
    const crcs = new Int32Array(300);
    halfCrcs(content, crcs);
    const seed = blockSeed("pc.ram");
    let crc = crc32(Buffer.from("before")) | 0;
    for (let i = 0; i < 150; i += 1) {
      const [a, b] = [crcs[2 * i] as number, crcs[2 * i + 1] as number];
      crc = withHalf(withHalf(crc, a), b);
      const { lane1, lane2 } = pageLanes(seed, i, content.subarray(i * PAGE_BYTES, (i + 1) * PAGE_BYTES));
      expect([lane1Of(seed, i, a), lane2Of(seed, i, b, lane1Of(seed, i, a))]).toEqual([lane1, lane2]);
    }
    expect(crc >>> 0).toBe(crc32(content, crc32(Buffer.from("before"))));
  });
});
