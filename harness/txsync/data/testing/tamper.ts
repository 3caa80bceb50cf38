import { readFileSync, writeFileSync } from "node:fs";
import { PAGE_BYTES } from "../../../base/page.ts";
import { ENTRY_BYTES, ZERO_FLAG } from "../../dirty/pages.ts";
import type { TakenRecord } from "../protocol.ts";

/** A page as it lies in a spool; `bytes` null where it is all zeros. */
export interface SpoolPage {
  readonly block: number;
  readonly page: number;
  readonly bytes: Buffer | null;
}

/** The record with other pages in its spool, and the digest that it had: what a bug in between would make of it. */
export function tampered(record: TakenRecord, change: (pages: SpoolPage[]) => SpoolPage[]): TakenRecord {
  const { entries_path, content_path } = record.spool;
  const [entries, content] = [readFileSync(entries_path), readFileSync(content_path)];
  const pages: SpoolPage[] = [];
  let at = 0;
  for (let i = 0; i < record.spool.pages; i += 1) {
    const word = entries.readUInt32LE(i * ENTRY_BYTES);
    const zero = (word & ZERO_FLAG) !== 0;
    pages.push({
      block: (word & ~ZERO_FLAG) >>> 0,
      page: entries.readUInt32LE(i * ENTRY_BYTES + 4),
      bytes: zero ? null : Buffer.from(content.subarray(at, at + PAGE_BYTES)),
    });
    if (!zero) at += PAGE_BYTES;
  }
  const changed = change(pages);
  const words = Buffer.alloc(changed.length * ENTRY_BYTES);
  for (const [i, { block, page, bytes }] of changed.entries()) {
    words.writeUInt32LE(bytes === null ? (block | ZERO_FLAG) >>> 0 : block, i * ENTRY_BYTES);
    words.writeUInt32LE(page, i * ENTRY_BYTES + 4);
  }
  const full = changed.flatMap(({ bytes }) => bytes ?? []);
  const spool = { ...record.spool, entries_path: `${entries_path}.other`, content_path: `${content_path}.other` };
  writeFileSync(spool.entries_path, words);
  writeFileSync(spool.content_path, Buffer.concat(full));
  return { ...record, spool: { ...spool, pages: changed.length, full_pages: full.length } };
}
