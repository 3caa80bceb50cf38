import { PAGE_BYTES } from "../../base/page.ts";
import {
  type ModifiedSet,
  type OutputFrame,
  PAGE_ENTRY_BYTES,
  type PartPiece,
  type RecordBlock,
  RecordError,
  type RecordHead,
  ZERO_FLAG,
} from "./record.ts";
import type { PageBatch } from "./record-encoder.ts";
import { type ParsedPages, type ParsedPart, RecordParser } from "./record-parser.ts";

export interface RecordPage {
  readonly block: number;
  readonly page: number;
  /** `null`: all zeros. */
  readonly bytes: Uint8Array | null;
}

/** A record that is in memory as a whole: for tests and for what is known to be small. */
export interface WholeRecord extends ModifiedSet {
  readonly head: RecordHead;
  readonly blocks: readonly RecordBlock[];
  readonly device_state: Buffer;
  readonly frames: readonly OutputFrame[];
  readonly pages: readonly RecordPage[];
  readonly parts: readonly PartPiece[];
}

/** @throws RecordError when the bytes are anything but one whole record. */
export function decodeRecord(bytes: Uint8Array): WholeRecord {
  const parser = new RecordParser();
  let head: RecordHead | null = null;
  let blocks: readonly RecordBlock[] = [];
  const device: Buffer[] = [];
  const frames: OutputFrame[] = [];
  const pages: RecordPage[] = [];
  const parts: PartPiece[] = [];
  let end: ModifiedSet | null = null;
  for (const event of parser.push(bytes)) {
    if (event.kind === "header") head = event.head;
    if (event.kind === "blocks") blocks = event.blocks;
    if (event.kind === "device") device.push(event.bytes);
    if (event.kind === "frames") frames.push(...event.frames);
    if (event.kind === "pages") pages.push(...pagesOf(event));
    if (event.kind === "part") parts.push(partOf(event));
    if (event.kind === "end") end = event.end;
  }
  parser.finish();
  if (head === null || end === null) throw new RecordError("it is cut off", parser.length);
  const { modified_pages, digest } = end;
  return { head, blocks, device_state: Buffer.concat(device), frames, pages, parts, modified_pages, digest };
}

/** The pages of a parsed chunk, one by one, as views. */
export function* pagesOf({ count, entries, content }: ParsedPages): Generator<RecordPage> {
  let content_at = 0;
  for (let i = 0; i < count; i += 1) {
    const word = entries.readUInt32BE(i * PAGE_ENTRY_BYTES);
    const [block, page] = [word & ~ZERO_FLAG, entries.readUInt32BE(i * PAGE_ENTRY_BYTES + 4)];
    if ((word & ZERO_FLAG) !== 0) yield { block, page, bytes: null };
    else {
      yield { block, page, bytes: content.subarray(content_at, content_at + PAGE_BYTES) };
      content_at += PAGE_BYTES;
    }
  }
}

/** A piece that outlives the buffer in which it came. */
export function partOf({ name, n, floor, bytes }: ParsedPart): PartPiece {
  return { name, n, floor, bytes: Buffer.from(bytes) };
}

/** Pages as one batch for the encoder, ascending. */
export function batchOf(pages: readonly RecordPage[]): PageBatch {
  const sorted = [...pages].sort((a, b) => a.block - b.block || a.page - b.page);
  const entries = Buffer.allocUnsafe(sorted.length * PAGE_ENTRY_BYTES);
  for (const [i, { block, page, bytes }] of sorted.entries()) {
    entries.writeUInt32LE(bytes === null ? (block | ZERO_FLAG) >>> 0 : block, i * PAGE_ENTRY_BYTES);
    entries.writeUInt32LE(page, i * PAGE_ENTRY_BYTES + 4);
  }
  const content: Uint8Array[] = [];
  for (const { bytes } of sorted) if (bytes !== null) content.push(bytes);
  return { entries, content: Buffer.concat(content) };
}
