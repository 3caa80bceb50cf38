import { crc32 } from "node:zlib";
import { PAGE_BYTES } from "../../../base/page.ts";
import type { Lanes } from "../tracker.ts";

/** The arithmetic of fixtures/native/pagescan/digest.h once more, to hold it to. Lanes are unsigned. */

function mixed(value: number): number {
  let h = value;
  h ^= h >>> 16;
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

export function lanesOf(block: string, page: number, content: Buffer): Lanes {
  const seed = crc32(block);
  const [a, b] = [crc32(content.subarray(0, PAGE_BYTES / 2)), crc32(content.subarray(PAGE_BYTES / 2))];
  const lane1 = mixed(a ^ Math.imul(page + 1, 0x9e3779b1) ^ seed);
  const lane2 = mixed(b ^ Math.imul(page + 1, 0x85ebca77) ^ ((seed << 16) | (seed >>> 16)) ^ lane1);
  return { lane1, lane2 };
}

export function sumOf(lanes: Iterable<Lanes>): Lanes {
  let [lane1, lane2] = [0, 0];
  for (const one of lanes) {
    lane1 = (lane1 + one.lane1) >>> 0;
    lane2 = (lane2 + one.lane2) >>> 0;
  }
  return { lane1, lane2 };
}
