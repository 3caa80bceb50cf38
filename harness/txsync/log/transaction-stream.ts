import { setImmediate } from "node:timers/promises";
import { PAGE_BYTES } from "../../base/page.ts";
import type { TransactionNumber } from "../core/index.ts";
import type { FramePlace, PartPlace, Place } from "./intake.ts";
import type { LogEntry, LogIndex } from "./log-index.ts";
import type { PageList } from "./page-list.ts";
import {
  type ModifiedSet,
  PAGE_ENTRY_BYTES,
  type RecordBlock,
  WRITTEN_BYTES_MAX,
  WRITTEN_PAGES_MAX,
  ZERO_FLAG,
} from "./record.ts";
import { RecordEncoder } from "./record-encoder.ts";
import type { SharedFile } from "./shared-file.ts";

/** The log's last transaction as it stood at a moment, as places in a file that stays open for it. */
export interface Snapshot {
  readonly file: SharedFile;
  readonly last: LogEntry;
  readonly since: TransactionNumber | "base";
  readonly blocks: readonly RecordBlock[];
  readonly device: readonly Place[];
  readonly frames: readonly FramePlace[];
  readonly parts: readonly PartPlace[];
  readonly pages: PageList;
  readonly modified: ModifiedSet;
}

/** @param file is retained: whoever has the snapshot releases it */
export async function takeSnapshot(
  index: LogIndex,
  last: LogEntry,
  since: TransactionNumber | "base",
  file: SharedFile,
): Promise<Snapshot> {
  const pages = await index.pagesSince(since === "base" ? 0 : since);
  const blocks = index.pages.blocks.map(({ name, bytes }) => ({ name, bytes }));
  const { pages: modified_pages, hex: digest } = index.pages.sum;
  const { device, frames } = index;
  const parts = since === "base" ? index.parts : index.parts.filter((part) => part.n > since);
  const modified = { modified_pages, digest };
  return { file: file.retain(), last, since, blocks, device, frames, parts, pages, modified };
}

/** The snapshot as one record, in the pieces of the encoder. */
export async function* streamOf(snapshot: Snapshot): AsyncGenerator<Buffer, void> {
  const { last, since, blocks, device, frames, parts, pages, modified } = snapshot;
  const { file } = snapshot.file;
  const encoder = new RecordEncoder();
  const { generation, n, mark, acked } = last;
  yield encoder.header({ generation, n, since, mark, acked });
  yield encoder.blocks(blocks);
  for (const part of device) {
    for (let at = 0; at < part.length; at += WRITTEN_BYTES_MAX) {
      const length = Math.min(WRITTEN_BYTES_MAX, part.length - at);
      yield* encoder.device(await exactly(file, part.offset + at, length));
    }
  }
  for (const { number, channel, offset, length } of frames) {
    yield* encoder.frame({ number, channel, bytes: await exactly(file, offset, length) });
  }
  yield* encoder.framesDone();
  for (const { block, first, end } of pages.runs()) {
    for (let at = first; at < end; at += WRITTEN_PAGES_MAX) {
      yield await pagesAt(snapshot, encoder, block, at, Math.min(end, at + WRITTEN_PAGES_MAX));
      // Where reads are done at once nothing else would get a turn.
      await setImmediate();
    }
  }
  for (const { name, n, floor, offset, length } of parts)
    yield encoder.part({ name, n, floor, bytes: await exactly(file, offset, length) });
  yield encoder.end(modified);
}

async function pagesAt(
  { file, pages }: Snapshot,
  encoder: RecordEncoder,
  block: number,
  first: number,
  end: number,
): Promise<Buffer> {
  const entries = Buffer.allocUnsafe((end - first) * PAGE_ENTRY_BYTES);
  const places: { offset: number; length: number }[] = [];
  for (let i = first; i < end; i += 1) {
    const offset = pages.offset(i);
    const at = (i - first) * PAGE_ENTRY_BYTES;
    entries.writeUInt32LE(offset < 0 ? (block | ZERO_FLAG) >>> 0 : block, at);
    entries.writeUInt32LE(pages.page(i), at + 4);
    if (offset < 0) continue;
    // Contents that lie one behind the other are read in one go.
    const before = places[places.length - 1];
    if (before !== undefined && before.offset + before.length === offset) before.length += PAGE_BYTES;
    else places.push({ offset, length: PAGE_BYTES });
  }
  const { chunk, content } = encoder.pagesChunk(entries);
  await file.file.gather(places, content);
  return encoder.pagesFilled(chunk);
}

async function exactly(file: SharedFile["file"], offset: number, length: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(length);
  await file.gather([{ offset, length }], bytes);
  return bytes;
}
