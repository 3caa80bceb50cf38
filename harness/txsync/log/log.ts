import { PAGE_BYTES } from "../../base/page.ts";
import type { FrameNumber, LogState } from "../core/index.ts";
import { crc32c } from "../wire/crc32c.ts";
import type { Files, LogFile } from "./files.ts";
import {
  checkTrailer,
  encodeTables,
  HEADER_BYTES,
  headerOf,
  parseHeader,
  parseTables,
  RecordError,
  type RecordHead,
  type RecordTables,
  TRAILER_BYTES,
  trailerOf,
} from "./record.ts";

/**
 * The transaction log of the escrow: one file of records, appended one after the other. A record is there whole or not
 * at all: whatever follows the last whole one is cut off when the log is opened. Compaction writes one record that
 * stands for all into a new file, syncs it, renames it, and only then removes the old one; the file with the highest
 * number counts, and it bears its name only when it is whole.
 */
const FILE_NAME = /^txlog-(\d{8})$/;
const READ_BYTES = 1024 * 1024;

export interface LogOptions {
  readonly files: Files;
  /** `disk`: an appended record has reached the disk before `append` returns. */
  readonly sync: "memory" | "disk";
  /** Compact when the log is longer than so many times what it holds, plus `slack_bytes`. */
  readonly growth?: number;
  readonly slack_bytes?: number;
}

/** Where a record lies in the file. */
export interface LogEntry extends RecordHead {
  readonly offset: number;
  readonly length: number;
}

/** Where the content of a page lies; -1: all zeros. */
interface PageAt {
  readonly block: number;
  readonly page: number;
  readonly offset: number;
}

interface FrameAt {
  readonly number: FrameNumber;
  readonly channel: number;
  readonly length: number;
  readonly offset: number;
}

export class TransactionLog {
  readonly #options: LogOptions;
  #file: LogFile;
  #number: number;
  #size: number;
  #entries: LogEntry[] = [];
  #blocks: { name: string; size: number }[] = [];
  readonly #pages = new Map<string, PageAt>();
  #frames: FrameAt[] = [];
  #device: { readonly offset: number; readonly length: number } = { offset: 0, length: 0 };
  #queue: Promise<unknown> = Promise.resolve();
  /** What was cut off when the log was opened, if anything. */
  readonly torn: { readonly offset: number; readonly why: string } | null;

  private constructor(options: LogOptions, file: LogFile, number: number, scanned: Scanned) {
    this.#options = options;
    this.#file = file;
    this.#number = number;
    this.#size = scanned.end;
    this.torn = scanned.torn;
    for (const { entry, tables } of scanned.records) this.#index(entry, tables);
  }

  /** Opens the log of a folder, or begins one; removes what a crash left over. */
  static async open(options: LogOptions): Promise<TransactionLog> {
    const { files } = options;
    const names = await files.list();
    const numbers = names
      .flatMap((name) => (FILE_NAME.test(name) ? [Number(name.slice(6))] : []))
      .sort((a, b) => b - a);
    const number = numbers[0] ?? 0;
    const file = await files.open(fileName(number), numbers.length > 0 ? "append" : "create");
    const scanned = await scan(file);
    if (scanned.torn !== null) {
      await file.truncate(scanned.end);
      await file.sync();
    }
    for (const name of names) {
      if (name !== fileName(number) && (FILE_NAME.test(name) || name.endsWith(".new"))) await files.remove(name);
    }
    await files.syncFolder();
    return new TransactionLog(options, file, number, scanned);
  }

  /** For the core: the last whole record, or `null`. */
  get state(): LogState | null {
    const last = this.#entries[this.#entries.length - 1];
    return last === undefined
      ? null
      : { last: last.n, generation: last.generation, mark: last.mark, acked: last.acked };
  }

  get entries(): readonly LogEntry[] {
    return this.#entries;
  }

  get bytes(): number {
    return this.#size;
  }

  /**
   * Appends a record as it came over the wire, after checking it. When this returns it is stored (on disk if the log
   * is so). @throws RecordError when the record is not sound; nothing is stored then.
   */
  append(record: Buffer): Promise<LogState> {
    return this.#inTurn(async () => {
      const { entry, tables } = checkWhole(record, this.#size);
      const last = this.state;
      if (last !== null && entry.n <= last.last)
        throw new RecordError(`it is number ${entry.n} after ${last.last}`, 16);
      if (entry.since !== "base" && entry.since !== last?.last)
        throw new RecordError(`it goes on from ${entry.since}`, 24);
      try {
        await this.#file.append([record]);
        if (this.#options.sync === "disk") await this.#file.sync();
      } catch (error) {
        // A disk that is full: what got there is no record and must not stand in the way of the next one.
        await this.#file.truncate(this.#size);
        throw error;
      }
      this.#size += record.length;
      this.#index(entry, tables);
      if (this.#isLong()) await this.#compact();
      return this.state as LogState;
    });
  }

  compact(): Promise<void> {
    return this.#inTurn(() => this.#compact());
  }

  close(): Promise<void> {
    return this.#inTurn(() => this.#file.close());
  }

  /** The last transaction, whole: what a restore needs, in one pass over what counts. */
  async restore(
    onPage: (block: string, page: number, bytes: Buffer | null) => void | Promise<void>,
  ): Promise<Restored | null> {
    return this.#inTurn(async () => {
      const last = this.#entries[this.#entries.length - 1];
      if (last === undefined) return null;
      for (const at of this.#inOrder()) {
        const bytes = at.offset < 0 ? null : await this.#file.read(at.offset, PAGE_BYTES);
        await onPage(this.#blocks[at.block]?.name ?? "", at.page, bytes);
      }
      const frames: Restored["frames"][number][] = [];
      for (const { number, channel, offset, length } of this.#frames) {
        frames.push({ number, channel, bytes: await this.#file.read(offset, length) });
      }
      const device_state = await this.#file.read(this.#device.offset, this.#device.length);
      return { head: last, device_state, blocks: this.#blocks.slice(), frames };
    });
  }

  /**
   * Where the pages of a block lie after these records, from the first: page number to offset in the file, -1 for all
   * zeros. `null` when no record knows the block.
   */
  static pagesAt(
    records: readonly { readonly entry: LogEntry; readonly tables: RecordTables }[],
    block: string,
  ): { readonly size: number; readonly offsets: Map<number, number> } | null {
    const offsets = new Map<number, number>();
    let size: number | null = null;
    for (const { entry, tables } of records) {
      const wanted = tables.blocks.findIndex(({ name }) => name === block);
      size = tables.blocks[wanted]?.size ?? size;
      if (entry.since === "base") offsets.clear();
      let offset = entry.offset + HEADER_BYTES + entry.tableBytes + entry.deviceBytes;
      for (const { length } of tables.frames) offset += length;
      for (const { block: number, page, zero } of tables.pages) {
        if (number === wanted) offsets.set(page, zero ? -1 : offset);
        if (!zero) offset += PAGE_BYTES;
      }
    }
    return size === null ? null : { size, offsets };
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#queue.then(work);
    this.#queue = turn.catch(() => undefined);
    return turn;
  }

  #index(entry: LogEntry, tables: RecordTables): void {
    const body = entry.offset + HEADER_BYTES;
    if (entry.since === "base") this.#pages.clear();
    const numbers = tables.blocks.map(({ name, size }) => this.#blockNumber(name, size));
    let offset = body + entry.tableBytes;
    this.#device = { offset, length: entry.deviceBytes };
    offset += entry.deviceBytes;
    // What has arrived at the edge needs not be let out again.
    this.#frames = this.#frames.filter(({ number }) => number > entry.acked);
    for (const { number, channel, length } of tables.frames) {
      if (number > entry.acked && !this.#frames.some((known) => known.number === number)) {
        this.#frames.push({ number, channel, length, offset });
      }
      offset += length;
    }
    for (const { block, page, zero } of tables.pages) {
      const number = numbers[block] ?? 0;
      this.#pages.set(`${number}:${page}`, { block: number, page, offset: zero ? -1 : offset });
      if (!zero) offset += PAGE_BYTES;
    }
    this.#entries.push(entry);
  }

  #blockNumber(name: string, size: number): number {
    const known = this.#blocks.findIndex((block) => block.name === name);
    return known >= 0 ? known : this.#blocks.push({ name, size }) - 1;
  }

  #inOrder(): PageAt[] {
    return [...this.#pages.values()].sort((a, b) => a.offset - b.offset);
  }

  #liveBytes(): number {
    return this.#pages.size * PAGE_BYTES + this.#device.length;
  }

  #isLong(): boolean {
    const { growth = 2, slack_bytes = 16 * 1024 * 1024 } = this.#options;
    return this.#entries.length > 1 && this.#size > growth * this.#liveBytes() + slack_bytes;
  }

  /** One record for all, since the base, under the number of the last. */
  async #compact(): Promise<void> {
    const last = this.#entries[this.#entries.length - 1];
    if (last === undefined || this.#entries.length < 2) return;
    const { files } = this.#options;
    const number = this.#number + 1;
    const pages = this.#inOrder();
    const full = pages.filter(({ offset }) => offset >= 0);
    const tables: RecordTables = {
      blocks: this.#blocks,
      pages: pages.map(({ block, page, offset }) => ({ block, page, zero: offset < 0 })),
      frames: this.#frames,
    };
    const encoded = encodeTables(tables);
    let bodyBytes = encoded.length + this.#device.length + full.length * PAGE_BYTES;
    for (const { length } of this.#frames) bodyBytes += length;
    const head: RecordHead = {
      ...last,
      since: "base",
      blockCount: this.#blocks.length,
      pageCount: pages.length,
      fullCount: full.length,
      frameCount: this.#frames.length,
      tableBytes: encoded.length,
      bodyBytes,
    };
    const file = await files.open(`${fileName(number)}.new`, "create");
    await file.append([headerOf(head), encoded]);
    let crc = crc32c(encoded);
    const copy = async (offset: number, length: number): Promise<void> => {
      for (let done = 0; done < length; done += READ_BYTES) {
        const piece = await this.#file.read(offset + done, Math.min(READ_BYTES, length - done));
        crc = crc32c(piece, crc);
        await file.append([piece]);
      }
    };
    await copy(this.#device.offset, this.#device.length);
    for (const { offset, length } of this.#frames) await copy(offset, length);
    for (const run of runsOf(full)) await copy(run.offset, run.length);
    await file.append([trailerOf(crc)]);
    await file.sync();
    await files.rename(`${fileName(number)}.new`, fileName(number));
    await files.syncFolder();
    // From here on the new file is the log.
    const old = this.#file;
    const oldName = fileName(this.#number);
    this.#file = file;
    this.#number = number;
    this.#size = HEADER_BYTES + bodyBytes + TRAILER_BYTES;
    this.#entries = [];
    this.#pages.clear();
    this.#frames = [];
    this.#blocks = [];
    this.#index({ ...head, offset: 0, length: this.#size }, tables);
    await old.close();
    await files.remove(oldName);
    await files.syncFolder();
  }
}

export interface Restored {
  readonly head: RecordHead;
  readonly device_state: Buffer;
  readonly blocks: readonly { readonly name: string; readonly size: number }[];
  readonly frames: readonly { readonly number: FrameNumber; readonly channel: number; readonly bytes: Buffer }[];
}

/** Contents that lie one behind the other are copied in one go. */
function runsOf(pages: readonly PageAt[]): { offset: number; length: number }[] {
  const runs: { offset: number; length: number }[] = [];
  for (const { offset } of pages) {
    const run = runs[runs.length - 1];
    if (run !== undefined && run.offset + run.length === offset) run.length += PAGE_BYTES;
    else runs.push({ offset, length: PAGE_BYTES });
  }
  return runs;
}

function fileName(number: number): string {
  return `txlog-${String(number).padStart(8, "0")}`;
}

/** @throws RecordError unless the bytes are one whole, sound record. */
function checkWhole(record: Buffer, offset: number): { entry: LogEntry; tables: RecordTables } {
  const head = parseHeader(record);
  const end = HEADER_BYTES + head.bodyBytes;
  if (record.length !== end + TRAILER_BYTES)
    throw new RecordError(`${record.length} bytes instead of ${end + TRAILER_BYTES}`, 0);
  checkTrailer(record.subarray(end), crc32c(record.subarray(HEADER_BYTES, end)), end);
  const tables = parseTables(head, record.subarray(HEADER_BYTES, HEADER_BYTES + head.tableBytes));
  return { entry: { ...head, offset, length: record.length }, tables };
}

interface Scanned {
  readonly records: readonly { readonly entry: LogEntry; readonly tables: RecordTables }[];
  readonly end: number;
  readonly torn: { readonly offset: number; readonly why: string } | null;
}

/** One pass over a file: its whole records in order, up to the first that is not. Reads 1 MiB at a time. */
export async function scan(file: LogFile): Promise<Scanned> {
  const size = await file.size();
  const records: { entry: LogEntry; tables: RecordTables }[] = [];
  let offset = 0;
  while (offset < size) {
    try {
      const head = parseHeader(await file.read(offset, HEADER_BYTES));
      const length = HEADER_BYTES + head.bodyBytes + TRAILER_BYTES;
      if (offset + length > size) throw new RecordError("it is cut off", size - offset);
      const tables = parseTables(head, await file.read(offset + HEADER_BYTES, head.tableBytes));
      let crc = 0;
      const end = offset + HEADER_BYTES + head.bodyBytes;
      for (let at = offset + HEADER_BYTES; at < end; at += READ_BYTES) {
        crc = crc32c(await file.read(at, Math.min(READ_BYTES, end - at)), crc);
      }
      checkTrailer(await file.read(end, TRAILER_BYTES), crc, end - offset);
      const before = records[records.length - 1]?.entry;
      if (before !== undefined && head.n <= before.n) throw new RecordError(`number ${head.n} after ${before.n}`, 16);
      if (head.since !== "base" && head.since !== before?.n) throw new RecordError(`it goes on from ${head.since}`, 24);
      records.push({ entry: { ...head, offset, length }, tables });
      offset += length;
    } catch (error) {
      if (!(error instanceof RecordError)) throw error;
      return { records, end: offset, torn: { offset: offset + error.offset, why: error.message } };
    }
  }
  return { records, end: offset, torn: null };
}
