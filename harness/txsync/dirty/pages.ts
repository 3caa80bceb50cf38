import { PAGE_BYTES } from "../../base/page.ts";

/** Block number (bit 31: all zeros) and page number, little-endian. */
export const ENTRY_BYTES = 8;
export const ZERO_FLAG = 0x8000_0000;

/** One changed page. `bytes` is `null` where the page is all zeros; otherwise a view, not a copy. */
export interface ChangedPage {
  /** RAM block as the migration stream names it. */
  readonly block: string;
  /** Number of the page in its block. */
  readonly page: number;
  readonly bytes: Uint8Array | null;
}

/** Pages in a row. */
export interface PageRun {
  readonly block: string;
  readonly first: number;
  readonly count: number;
}

/**
 * Changed pages in the form in which they are kept and sent: 8 bytes for every page (block number with bit 31 for
 * "all zeros", page number; little-endian), and the contents of the pages that are not zero in the same order.
 */
export class PageSet implements Iterable<ChangedPage> {
  /** Names of the blocks that the entries number. */
  readonly blocks: readonly string[];
  readonly entries: Buffer;
  readonly content: Buffer;

  /** @throws RangeError when entries and contents do not fit each other: a damaged set is never half applied. */
  constructor(blocks: readonly string[], entries: Buffer, content: Buffer) {
    this.blocks = blocks;
    this.entries = entries;
    this.content = content;
    if (entries.length % ENTRY_BYTES !== 0) throw new RangeError(`a page set with ${entries.length} bytes of entries`);
    let full = 0;
    for (let at = 0; at < entries.length; at += ENTRY_BYTES) {
      const block = entries.readUInt32LE(at);
      if (blocks[block & ~ZERO_FLAG] === undefined) throw new RangeError(`a page set without a block ${block}`);
      if ((block & ZERO_FLAG) === 0) full++;
    }
    if (full * PAGE_BYTES !== content.length) {
      throw new RangeError(`a page set of ${full} pages with ${content.length} bytes of content`);
    }
  }

  static of(pages: Iterable<ChangedPage>): PageSet {
    const blocks: string[] = [];
    const entries: Buffer[] = [];
    const contents: Uint8Array[] = [];
    for (const { block, page, bytes } of pages) {
      let number = blocks.indexOf(block);
      if (number < 0) number = blocks.push(block) - 1;
      const entry = Buffer.alloc(ENTRY_BYTES);
      entry.writeUInt32LE((bytes === null ? (number | ZERO_FLAG) >>> 0 : number) >>> 0, 0);
      entry.writeUInt32LE(page, 4);
      entries.push(entry);
      if (bytes !== null) contents.push(bytes);
    }
    return new PageSet(blocks, Buffer.concat(entries), Buffer.concat(contents));
  }

  get pages(): number {
    return this.entries.length / ENTRY_BYTES;
  }

  get zero_pages(): number {
    return this.pages - this.content.length / PAGE_BYTES;
  }

  /** What the set takes in memory. */
  get bytes(): number {
    return this.entries.length + this.content.length;
  }

  *[Symbol.iterator](): Iterator<ChangedPage> {
    let content_at = 0;
    for (let at = 0; at < this.entries.length; at += ENTRY_BYTES) {
      const number = this.entries.readUInt32LE(at);
      const page = this.entries.readUInt32LE(at + 4);
      const block = this.blocks[number & ~ZERO_FLAG] ?? "";
      if ((number & ZERO_FLAG) !== 0) {
        yield { block, page, bytes: null };
      } else {
        yield { block, page, bytes: this.content.subarray(content_at, content_at + PAGE_BYTES) };
        content_at += PAGE_BYTES;
      }
    }
  }
}

/** Runs as a set of "block:page", to compare what two ways have found. */
export function pagesOf(runs: Iterable<PageRun>): Set<string> {
  const pages = new Set<string>();
  for (const { block, first, count } of runs) {
    for (let page = first; page < first + count; page++) pages.add(`${block}:${page}`);
  }
  return pages;
}
