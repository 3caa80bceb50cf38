import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { PAGE_BYTES } from "../../../base/page.ts";
import { RAM_BLOCK } from "../../../qemu/command-line.ts";
import { frameNumber, type Generation, type RecordHeader, type TransactionNumber } from "../../core/index.ts";
import { blockSeed, DigestSum, pageLanes } from "../../log/index.ts";
import type { TakenRecord } from "../protocol.ts";

/** RAM blocks of the guest that is played: its RAM in a file, and one that is in no file. */
export const BLOCKS = [
  { name: RAM_BLOCK, bytes: 96 * PAGE_BYTES },
  { name: "pc.bios", bytes: 8 * PAGE_BYTES },
] as const;

/** What a guest's memory is at one moment: the blocks one behind the other. */
export type Moment = readonly Buffer[];

/** A guest without QEMU, and what pagescan would say of it: the table of numbers, the spool, the digest. */
export class ModelGuest {
  readonly memory: readonly Buffer[];
  /** As it stood at switchover. */
  readonly base: Moment;
  readonly #numbers: readonly Uint32Array[];
  readonly #dirty: readonly Set<number>[];
  readonly #folder: string;

  constructor(folder: string, seed: number) {
    this.#folder = folder;
    this.memory = BLOCKS.map(({ bytes }, block) => {
      const content = Buffer.alloc(bytes);
      for (let page = 0; page < bytes / PAGE_BYTES; page += 1)
        if ((page + seed) % 3 !== 0)
          content.fill((seed + block + page) % 251 || 1, page * PAGE_BYTES, (page + 1) * PAGE_BYTES);
      return content;
    });
    this.base = this.moment();
    this.#numbers = BLOCKS.map(({ bytes }) => new Uint32Array(bytes / PAGE_BYTES));
    this.#dirty = BLOCKS.map(() => new Set<number>());
  }

  moment(): Moment {
    return this.memory.map((content) => Buffer.from(content));
  }

  /** @param value what the page is filled with; 0 for zeros */
  write(block: number, page: number, value: number): void {
    const memory = this.memory[block] as Buffer;
    const at = (page % (memory.length / PAGE_BYTES)) * PAGE_BYTES;
    memory.fill(value % 256, at, at + PAGE_BYTES);
    if (value !== 0) memory.writeUInt32LE(value, at);
    this.#dirty[block]?.add(at / PAGE_BYTES);
  }

  /** As `take` and `settle` of pagescan: everything with a number above `since` lies in the spool afterwards. */
  take(header: Pick<RecordHeader, "generation" | "n" | "since">): TakenRecord {
    const entries: Buffer[] = [];
    const content: Buffer[] = [];
    const sum = new DigestSum();
    const since = header.since === "base" ? 0 : header.since;
    for (const [block, { name }] of BLOCKS.entries()) {
      const numbers = this.#numbers[block] as Uint32Array;
      for (const page of this.#dirty[block] as Set<number>) numbers[page] = header.n;
      this.#dirty[block]?.clear();
      for (const [page, n] of numbers.entries()) {
        if (n === 0) continue;
        const bytes = Buffer.from((this.memory[block] as Buffer).subarray(page * PAGE_BYTES, (page + 1) * PAGE_BYTES));
        const { lane1, lane2 } = pageLanes(blockSeed(name), page, bytes);
        sum.add(lane1, lane2);
        if (n <= since) continue;
        const zero = bytes.every((byte) => byte === 0);
        const entry = Buffer.alloc(8);
        entry.writeUInt32LE(zero ? (block | 0x8000_0000) >>> 0 : block, 0);
        entry.writeUInt32LE(page, 4);
        entries.push(entry);
        if (!zero) content.push(bytes);
      }
    }
    const [content_path, entries_path] = [join(this.#folder, "spool"), join(this.#folder, "spool.pages")];
    writeFileSync(content_path, Buffer.concat(content));
    writeFileSync(entries_path, Buffer.concat(entries));
    return {
      header: { ...header, mark: frameNumber(0), acked: frameNumber(0) },
      blocks: BLOCKS,
      device_state: Buffer.from(`device state ${header.generation}:${header.n}`),
      parts: [],
      frames: [],
      spool: {
        content_path,
        entries_path,
        pages: entries.length,
        full_pages: content.length,
        blocks: BLOCKS.map(({ name }) => name),
      },
      digest: sum.hex,
      modified_pages: sum.pages,
    };
  }
}

export function numbered(generation: number, n: number): { generation: Generation; n: TransactionNumber } {
  return { generation: generation as Generation, n: n as TransactionNumber };
}
