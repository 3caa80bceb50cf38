import { readFileSync } from "node:fs";
import { RAM_BLOCK } from "../../qemu/command-line.ts";
import type { LocatedBlock } from "../../qemu/ram-blocks.ts";
import { ENTRY_BYTES, type PageRun } from "../dirty/pages.ts";
import { readSmallBlocks, readSmallBlocksBy, type SmallBlock } from "../dirty/small-blocks.ts";
import type { Spool } from "../dirty/spool.ts";
import { openTracker, type PagescanTracker } from "../dirty/tracker.ts";
import type { AheadOptions } from "./memory-ahead.ts";

/** Which pages of a running guest change while its memory is copied ahead. */
export interface Changes extends AsyncDisposable {
  /** Pages that may have changed since the last look, or since the beginning. */
  look(): Promise<readonly PageRun[]>;
  /** Those of them that are known by now, without waiting for anybody: the next look tells the others. */
  glance(): Promise<readonly PageRun[]>;
  /** Why a page may have changed that no look tells of, and been read meanwhile. */
  readonly doubtful: string | undefined;
  /** What is in no file, as it is. */
  small(): Promise<readonly SmallBlock[]>;
  /** Pages of main RAM that there are, at the earliest when the first look was begun. */
  present(): Promise<readonly PageRun[]>;
}

/** As the kernel notes them for us alone: nobody else looks at this memory. */
export class TrackedChanges implements Changes {
  readonly doubtful = undefined;
  readonly #tracker: PagescanTracker;
  readonly #options: AheadOptions;
  #n: number;

  private constructor(tracker: PagescanTracker, options: AheadOptions) {
    this.#tracker = tracker;
    this.#options = options;
    this.#n = tracker.last;
  }

  /** @returns why not, where the kernel does not note what is written: then nothing was begun */
  static async open(options: AheadOptions): Promise<TrackedChanges | string> {
    const { pagescan, pid, blocks, folder, shim_status_path } = options;
    const tracker = await openTracker({ pagescan, pid, blocks, folder, shim_status_path, first: true });
    try {
      const armed = await tracker.arm();
      if (armed.mode === "quick") return new TrackedChanges(tracker, options);
      await tracker[Symbol.asyncDispose]();
      return tracker.why;
    } catch (error) {
      await tracker[Symbol.asyncDispose]();
      throw error;
    }
  }

  async look(): Promise<readonly PageRun[]> {
    this.#n += 1;
    return await this.#tracker.look(this.#n, this.#n - 1);
  }

  glance(): Promise<readonly PageRun[]> {
    return this.look();
  }

  small(): Promise<readonly SmallBlock[]> {
    return readSmallBlocksBy(this.#tracker, this.#options.pid, this.#options.blocks);
  }

  present(): Promise<readonly PageRun[]> {
    return this.#tracker.present(RAM_BLOCK);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#tracker[Symbol.asyncDispose]().catch(() => undefined);
  }
}

/**
 * As the transactions of a protected VM find them, the quick way. Each that is sent has every page that was found since the last one that
 * is stored, so whatever was written is in the next one at the latest, however many were dropped or failed in between; and
 * what was found before is there once more, which costs no more than sending it again. The sure way finds by digests: a page
 * that was changed and changed back by the next transaction is in none, and what was read in between is nowhere told of.
 */
export class RecordedChanges implements Changes {
  #doubtful: string | undefined;
  readonly #options: Pick<AheadOptions, "pagescan" | "pid" | "blocks">;
  #runs: PageRun[] = [];
  #next = Promise.withResolvers<void>();
  #still = false;

  constructor(options: { readonly pagescan: string; readonly pid: number; readonly blocks: readonly LocatedBlock[] }) {
    this.#options = options;
  }

  /** To be called while the spool has that transaction. */
  note({ entries_path, pages, blocks }: Spool): void {
    const entries = readFileSync(entries_path);
    if (entries.length < pages * ENTRY_BYTES) throw new RangeError(`${entries_path} is shorter than it should be`);
    for (let i = 0; i < pages; i += 1) {
      const block = blocks[entries.readUInt32LE(i * ENTRY_BYTES) & 0x7fff_ffff] ?? "";
      const first = entries.readUInt32LE(i * ENTRY_BYTES + 4);
      const last = this.#runs.at(-1);
      if (last !== undefined && last.block === block && last.first + last.count === first)
        this.#runs[this.#runs.length - 1] = { ...last, count: last.count + 1 };
      else this.#runs.push({ block, first, count: 1 });
    }
    this.#next.resolve();
    this.#next = Promise.withResolvers();
  }

  get doubtful(): string | undefined {
    return this.#doubtful;
  }

  /** A transaction is found the sure way: for good, whatever the next ones are found by. */
  doubt(): void {
    this.#doubtful = "transactions are found the sure way, which sees no page that changed and changed back";
    this.#next.resolve();
    this.#next = Promise.withResolvers();
  }

  /** The guest stands still, and its last transaction was noted: nothing more comes. */
  still(): void {
    this.#still = true;
    this.#next.resolve();
  }

  /** When another transaction was noted: what is known before is not what has been written by now. */
  async look(): Promise<readonly PageRun[]> {
    if (!this.#still) await this.#next.promise;
    return this.#runs.splice(0);
  }

  /** What the transactions so far have found was written before any page that is read from now on. */
  glance(): Promise<readonly PageRun[]> {
    return Promise.resolve(this.#runs.splice(0));
  }

  small(): Promise<readonly SmallBlock[]> {
    return readSmallBlocks(this.#options);
  }

  async present(): Promise<readonly PageRun[]> {
    const { pagescan, pid } = this.#options;
    const blocks = this.#options.blocks.filter(({ name }) => name === RAM_BLOCK);
    await using looking = await openTracker({ pagescan, pid, blocks, prefer: "sure" });
    return await looking.present(RAM_BLOCK);
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.still();
    return Promise.resolve();
  }
}
