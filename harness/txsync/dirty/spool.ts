import { type FileHandle, open } from "node:fs/promises";
import { PAGE_BYTES } from "../../base/page.ts";
import { ENTRY_BYTES, PageSet, ZERO_FLAG } from "./pages.ts";

/**
 * Where a taken transaction's pages lie, on this host's tmpfs, until the tracker is told `release` (form:
 * fixtures/native/pagescan/spool.h). Paths only, so that it can be told to another thread.
 */
export interface Spool {
  /** Contents of the pages that are not all zeros, in the order of the entries. */
  readonly content_path: string;
  /** For every page its block's number, bit 31 set where it is all zeros, and its number; ascending. */
  readonly entries_path: string;
  readonly pages: number;
  readonly full_pages: number;
  /** Names of the blocks that the entries number. */
  readonly blocks: readonly string[];
}

/** Pages in a row of the spool: entries of 8 bytes, and the contents of those that are not all zeros. */
export interface SpoolBatch {
  readonly entries: Buffer;
  readonly content: Buffer;
}

export const BATCH_PAGES = 64;

async function readExactly(
  file: FileHandle,
  at: number,
  bytes: number,
  path: string,
  buffer: Buffer = Buffer.allocUnsafe(bytes),
): Promise<Buffer> {
  let have = 0;
  while (have < bytes) {
    const { bytesRead } = await file.read(buffer, have, bytes - have, at + have);
    if (bytesRead === 0) throw new RangeError(`${path} ends at byte ${at + have}, and should go on`);
    have += bytesRead;
  }
  return buffer;
}

/** How many of the entries are pages with content. */
function fullIn(entries: Buffer): number {
  let full = 0;
  for (let at = 0; at < entries.length; at += ENTRY_BYTES) if ((entries.readUInt32LE(at) & ZERO_FLAG) === 0) full++;
  return full;
}

/**
 * The pages of a spool, at most `pages_max` at a time; reads no further than it is asked to.
 * @param into where the contents for these entries are to be read into; fresh memory where nothing is said
 * @throws RangeError when the files are shorter than they should be; what reading a file throws.
 */
export async function* readSpool(
  spool: Spool,
  pages_max = BATCH_PAGES,
  into: (entries: Buffer) => Buffer = (entries) => Buffer.allocUnsafe(fullIn(entries) * PAGE_BYTES),
): AsyncGenerator<SpoolBatch> {
  await using entries_file = await open(spool.entries_path, "r");
  await using content_file = await open(spool.content_path, "r");
  let full_before = 0;
  for (let page = 0; page < spool.pages; page += pages_max) {
    const bytes = Math.min(pages_max, spool.pages - page) * ENTRY_BYTES;
    const entries = await readExactly(entries_file, page * ENTRY_BYTES, bytes, spool.entries_path);
    const full = fullIn(entries);
    const content_at = full_before * PAGE_BYTES;
    const content = into(entries);
    await readExactly(content_file, content_at, full * PAGE_BYTES, spool.content_path, content);
    full_before += full;
    yield { entries, content };
  }
  if (full_before !== spool.full_pages) {
    throw new RangeError(`${spool.entries_path} has ${full_before} pages with content, not ${spool.full_pages}`);
  }
}

/** All pages at once: for as long as a transaction is kept in memory. */
export async function pageSetOf(spool: Spool): Promise<PageSet> {
  await using entries_file = await open(spool.entries_path, "r");
  await using content_file = await open(spool.content_path, "r");
  const [entries, content] = await Promise.all([
    readExactly(entries_file, 0, spool.pages * ENTRY_BYTES, spool.entries_path),
    readExactly(content_file, 0, spool.full_pages * PAGE_BYTES, spool.content_path),
  ]);
  return new PageSet(spool.blocks, entries, content);
}
