import { setImmediate } from "node:timers/promises";
import { PAGE_BYTES } from "../../base/page.ts";
import type { LogState } from "../core/index.ts";
import type { FramePlace, PartPlace, Place, RecordIntake } from "./intake.ts";
import { INDEX_CHUNK_PAGES, type IndexChunk, PageIndex } from "./page-index.ts";
import { PageList } from "./page-list.ts";
import { PAGE_ENTRY_BYTES, type RecordHead } from "./record.ts";

/** So many pages are indexed before others get their turn: less than a millisecond. */
const SLICE_PAGES = 2048;

/** Where a record lies in the file, without its commit mark. */
export interface LogEntry extends RecordHead, Place {
  readonly pages: number;
  readonly frames: number;
  /** Bytes that it has of each part beside device state and RAM. */
  readonly parts: Readonly<Record<string, number>>;
  /** As of this record. */
  readonly modified_pages: number;
  readonly digest: string;
  /** The record's own checksum; of one that compaction wrote, that of the record it stands for. */
  readonly crc: number;
}

/** What a log holds: its records, and where the parts of the last transaction lie in the file. */
export class LogIndex {
  readonly pages = new PageIndex();
  #entries: LogEntry[] = [];
  #device: readonly Place[] = [];
  #frames: readonly FramePlace[] = [];
  #parts: readonly PartPlace[] = [];

  get entries(): readonly LogEntry[] {
    return this.#entries;
  }

  get last(): LogEntry | null {
    return this.#entries[this.#entries.length - 1] ?? null;
  }

  get device(): readonly Place[] {
    return this.#device;
  }

  /** Frames that have not arrived at the edge, as of the last record. */
  get frames(): readonly FramePlace[] {
    return this.#frames;
  }

  /** Pieces of parts that the last transaction needs, in the order of their numbers for each part. */
  get parts(): readonly PartPlace[] {
    return this.#parts;
  }

  get state(): LogState | null {
    const { last } = this;
    return last === null ? null : { last: last.n, generation: last.generation, mark: last.mark, acked: last.acked };
  }

  /** What a log with nothing but the last transaction would take. */
  get live_bytes(): number {
    let bytes = this.pages.pages * PAGE_ENTRY_BYTES + this.pages.full_pages * PAGE_BYTES;
    for (const { length } of this.#device) bytes += length;
    for (const { length } of this.#frames) bytes += length;
    for (const { length } of this.#parts) bytes += length;
    return bytes;
  }

  clear(): void {
    this.pages.clear();
    this.#entries = [];
    this.#device = [];
    this.#frames = [];
    this.#parts = [];
  }

  /** A whole record at this place of the file is now the last. Others get their turn while a large one is indexed. */
  async apply(intake: RecordIntake, offset: number, crc: number): Promise<LogEntry> {
    const { head, end } = intake.finish();
    const numbers = intake.numbersIn(this.pages);
    const { pages } = intake;
    for (const { block, first, end: behind } of pages.runs()) {
      const number = numbers[block] as number;
      for (let i = first; i < behind; i += 1) {
        const at = pages.offset(i);
        this.pages.set(number, pages.page(i), head.n, pages.lane1(i), pages.lane2(i), at < 0 ? at : offset + at);
        if ((i + 1) % SLICE_PAGES === 0) await setImmediate();
      }
    }
    this.#device = intake.device.map((place) => moved(place, offset));
    const added = intake.frames.map((place) => moved(place, offset));
    this.#frames = merged(this.#frames, added).filter(({ number }) => number > head.acked);
    const pieces = intake.parts.map((place) => moved(place, offset));
    this.#parts = neededParts(head.since === "base" ? pieces : [...this.#parts, ...pieces]);
    const { modified_pages, digest } = end;
    const [length, frames] = [intake.length, added.length];
    const parts = bytesOfParts(pieces);
    const entry = { ...head, offset, length, pages: pages.length, frames, parts, modified_pages, digest, crc };
    this.#entries.push(entry);
    return entry;
  }

  /** Pages that a record after `since` has, 0 for all, with their places in the file; ascending. */
  async pagesSince(since: number): Promise<PageList> {
    const list = new PageList({ lanes: false });
    for await (const { block, first, chunk } of this.#chunks()) {
      for (let i = 0; i < INDEX_CHUNK_PAGES; i += 1) {
        if ((chunk.n[i] as number) > since) list.add(block, first + i, chunk.offset[i] as number);
      }
    }
    return list;
  }

  /**
   * The records up to `upTo`, which ended at `from` in the old file, lie in the new one as the record of `intake` at
   * `offset`; what came after them lies behind it, at `to`.
   */
  async relocate(upTo: LogEntry, intake: RecordIntake, offset: number, from: number, to: number): Promise<void> {
    const numbers = intake.numbersIn(this.pages);
    const { pages } = intake;
    for (const { block, first, end } of pages.runs()) {
      for (let i = first; i < end; i += 1) {
        const page = pages.page(i);
        const chunk = this.pages.chunk(numbers[block] as number, page);
        const slot = page & (INDEX_CHUNK_PAGES - 1);
        // Others have been written again since.
        if (chunk !== undefined && (chunk.n[slot] as number) <= upTo.n) {
          const at = pages.offset(i);
          chunk.offset[slot] = at < 0 ? at : offset + at;
        }
        if ((i + 1) % SLICE_PAGES === 0) await setImmediate();
      }
    }
    const shift = to - from;
    for await (const { chunk } of this.#chunks()) {
      for (let i = 0; i < INDEX_CHUNK_PAGES; i += 1) {
        if ((chunk.n[i] as number) > upTo.n && (chunk.offset[i] as number) >= 0)
          chunk.offset[i] = (chunk.offset[i] as number) + shift;
      }
    }
    const later = this.#entries.filter(({ n }) => n > upTo.n).map((entry) => moved(entry, shift));
    const [length, count] = [intake.length, intake.pages.length];
    const parts = bytesOfParts(intake.parts);
    const frames = intake.frames.length;
    const one = { ...upTo, since: "base" as const, offset, length, pages: count, frames, parts };
    this.#relocateParts(intake.parts, offset, from, shift);
    if (later.length === 0) this.#device = intake.device.map((place) => moved(place, offset));
    else this.#device = this.#device.map((place) => moved(place, shift));
    const known = new Map(intake.frames.map((place) => [place.number, moved(place, offset)]));
    this.#frames = this.#frames.map((place) =>
      place.offset >= from ? moved(place, shift) : (known.get(place.number) ?? place),
    );
    this.#entries = [one, ...later];
  }

  /** Pieces of compacted records lie where those were written, in the same order; those of later records have moved. */
  #relocateParts(written: readonly PartPlace[], offset: number, from: number, shift: number): void {
    const old = this.#parts.filter((place) => place.offset < from);
    // What has fallen below its floor since was written all the same: from the end on they are the same.
    const places = new Map<string, PartPlace[]>();
    for (const place of written) {
      const all = places.get(place.name) ?? [];
      all.push(moved(place, offset));
      places.set(place.name, all);
    }
    const kept = new Map<string, Iterator<PartPlace>>();
    for (const [name, all] of places) {
      const needed = old.filter((place) => place.name === name).length;
      kept.set(name, all.slice(all.length - needed).values());
    }
    this.#parts = this.#parts.map((place) =>
      place.offset >= from ? moved(place, shift) : (kept.get(place.name)?.next().value ?? moved(place, shift)),
    );
  }

  async *#chunks(): AsyncGenerator<{ readonly block: number; readonly first: number; readonly chunk: IndexChunk }> {
    let done = 0;
    for (const [block, { chunks }] of this.pages.blocks.entries()) {
      for (const [i, chunk] of chunks.entries()) {
        if (chunk === undefined) continue;
        yield { block, first: i * INDEX_CHUNK_PAGES, chunk };
        done += INDEX_CHUNK_PAGES;
        if (done % (16 * SLICE_PAGES) === 0) await setImmediate();
      }
    }
  }
}

function moved<T extends Place>(place: T, by: number): T {
  return { ...place, offset: place.offset + by };
}

/** Without the pieces of transactions that their part needs no more. */
export function neededParts<T extends { readonly name: string; readonly n: number; readonly floor: number }>(
  pieces: readonly T[],
): readonly T[] {
  const floors = new Map<string, number>();
  for (const { name, floor } of pieces) floors.set(name, Math.max(floors.get(name) ?? 0, floor));
  return pieces.filter(({ name, n }) => n > (floors.get(name) ?? 0));
}

function bytesOfParts(pieces: readonly PartPlace[]): Record<string, number> {
  const bytes: Record<string, number> = {};
  for (const { name, length } of pieces) bytes[name] = (bytes[name] ?? 0) + length;
  return bytes;
}

/** Both ascending; where both have a frame it is the same one, and the newer place counts. */
function merged(known: readonly FramePlace[], added: readonly FramePlace[]): FramePlace[] {
  const out: FramePlace[] = [];
  let i = 0;
  for (const frame of added) {
    for (let old = known[i]; old !== undefined && old.number <= frame.number; i += 1, old = known[i]) {
      if (old.number < frame.number) out.push(old);
    }
    out.push(frame);
  }
  return [...out, ...known.slice(i)];
}
