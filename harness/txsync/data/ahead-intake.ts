import { closeSync, openSync, writeSync, writevSync } from "node:fs";
import { UserError } from "../../base/errors.ts";
import { PAGE_BYTES } from "../../base/page.ts";
import { RAM_BLOCK } from "../../qemu/command-line.ts";
import { discard, type PageRange } from "../../qemu/stream/writer.ts";
import type { PageAnswer } from "../pages/page-frames.ts";
import { type BlockSize, PageMap, pagesOf } from "../pages/page-map.ts";
import type { TargetFeed } from "../relay/feed.ts";
import type { Ahead } from "./kept-package.ts";
import { type Runs, runsOf, unpackPages, without } from "./page-runs.ts";

const ZEROS = Buffer.alloc(PAGE_BYTES);
/** QEMU answers it when it has thrown away what it was told to before. */
export const THROWN_PING = 0x4645_7275;

/**
 * Pages that come before the VM does: main RAM is written straight into the file that a waiting QEMU has as its memory,
 * the other blocks go to it as pages of its stream. What is all zeros stays a hole. QEMU's own account knows nothing of
 * what was written behind its back: ours counts (harness/qemu/FACTS.md, "Memory ahead").
 */
export class AheadIntake {
  readonly base: string;
  /** Pages that are here as they were sent last. */
  readonly map: PageMap;
  readonly holes: Holes;
  readonly feed: TargetFeed;
  /** Frames of pages that were taken. */
  frames = 0;
  readonly #fd: number;
  /** By block, 1 for a page that QEMU was told to throw away while the guest still ran elsewhere. */
  readonly #gone = new Map<string, Uint8Array>();
  readonly #throwing = new Outstanding();

  /** @param ram_path its QEMU has the stream's beginning: before that it empties its blocks */
  constructor(base: string, blocks: readonly BlockSize[], feed: TargetFeed, ram_path: string) {
    this.base = base;
    this.map = new PageMap(blocks);
    this.holes = new Holes(blocks);
    this.feed = feed;
    this.#fd = openSync(ram_path, "r+");
  }

  /** @throws RangeError for what is nowhere; Error behind what was thrown away: QEMU may not have come to that yet */
  take({ block, first, pages }: Pick<PageAnswer, "block" | "first" | "pages">): void {
    const { map } = this;
    if (this.#gone.size > 0) throw new Error("pages come behind what was to be thrown away");
    if (!map.knows(block, first) || !map.knows(block, first + pages.length - 1))
      throw new RangeError(`pages ${first} to ${first + pages.length - 1} of RAM block ${block} are nowhere`);
    if (block === RAM_BLOCK) this.#write(first, pages);
    else this.feed.writePages(pages.map((bytes, i) => ({ block, page: first + i, bytes })));
    for (let i = 0; i < pages.length; i += 1) map.add(block, first + i);
    this.frames += 1;
  }

  #write(first: number, pages: PageAnswer["pages"]): void {
    for (let i = 0; i < pages.length; ) {
      const at = first + i;
      if (pages[i] === null) {
        // Where something else stood before, zeros have to be written.
        if (!this.map.has(RAM_BLOCK, at)) this.holes.add(at);
        else if (!this.holes.has(at)) whole(writeSync(this.#fd, ZEROS, 0, PAGE_BYTES, at * PAGE_BYTES), PAGE_BYTES);
        i += 1;
        continue;
      }
      const run: Uint8Array[] = [];
      for (let bytes = pages[i]; bytes; bytes = pages[i]) {
        run.push(bytes);
        this.holes.remove(first + i);
        i += 1;
      }
      whole(writevSync(this.#fd, run, at * PAGE_BYTES), run.length * PAGE_BYTES);
    }
  }

  /**
   * These pages will come once more whatever the guest does, which still runs elsewhere: QEMU takes some µs for each run of
   * them, for which it would stand still later. It is asked to answer when it is done (`hasThrown`).
   * @throws RangeError for what is nowhere
   */
  throwAway(block: string, first: number, packed: Uint8Array): void {
    const pages = this.#pagesOf(block);
    if (first > pages) throw new RangeError(`page ${first} of RAM block ${block} is nowhere`);
    const stale = new Uint8Array(pages);
    stale.set(unpackPages(packed, pages - first).is, first);
    const runs = runsOf(stale);
    if (runs.length === 0) return;
    this.#remove(block, runs);
    const gone = this.#gone.get(block) ?? new Uint8Array(pages);
    for (const [from, count] of runs) gone.fill(1, from, from + count);
    this.#gone.set(block, gone);
    for (const command of discard(block, rangesOf(runs))) this.feed.write(command);
    this.#throwing.asked();
    this.feed.ping(THROWN_PING);
  }

  /** QEMU has answered that. */
  hasThrown(): void {
    this.#throwing.answered();
  }

  /** Settles when QEMU has thrown away what it was told to by now; or nobody wants it any more. */
  thrown(): Promise<void> {
    return this.#throwing.none();
  }

  #pagesOf(block: string): number {
    return pagesOf(this.map.blocks.find(({ name }) => name === block)?.bytes ?? 0);
  }

  /** What came of them, if it did. */
  #remove(block: string, runs: Runs): void {
    for (const [first, count] of runs) {
      this.map.removeRun(block, first, count);
      if (block === RAM_BLOCK) this.holes.removeRun(first, count);
    }
  }

  /**
   * Whether everything has come that the sender thinks is here. Frames are counted, not pages: what a page was when it was
   * sent first is here long before what it is now.
   */
  hasAll({ frames }: Ahead): boolean {
    return this.frames === frames;
  }

  /**
   * The VM stands still where it came from: what is stale goes, and what is left is the base's.
   * @returns what QEMU has to be told before the package
   * @throws UserError when something is missing that the sender thinks is here: then nothing may run
   */
  settle({ base, stale, frames }: Ahead): Buffer[] {
    if (base !== this.base) throw new UserError("what was copied ahead is of another attempt");
    if (frames !== this.frames)
      throw new UserError(`${this.frames} frames came of ${frames} that were copied ahead: some were lost`);
    const { map } = this;
    const commands: Buffer[] = [];
    let stale_pages = 0;
    for (const [block, packed] of Object.entries(stale)) {
      const { is, count } = unpackPages(packed, this.#pagesOf(block));
      stale_pages += count;
      // What was thrown away before is not there any more.
      const there = runsOf(without(is, this.#gone.get(block)));
      // Where nothing came there is nothing to be taken back.
      if (frames > 0) this.#remove(block, there);
      // What never came as well: written beside it a huge page has put zeros there, which the guest would read.
      if (there.length > 0) commands.push(...discard(block, rangesOf(there)));
    }
    const missing = map.pages_total - map.count;
    if (missing !== stale_pages)
      throw new UserError(
        `${missing} pages are missing of what was copied ahead, and not ${stale_pages}: some were lost`,
      );
    // Told of no page at all a QEMU refuses to run.
    if (commands.length === 0 && this.#gone.size === 0)
      throw new UserError("a package that lets no page come once more: QEMU would not run");
    return commands;
  }

  close(): void {
    closeSync(this.#fd);
    this.#throwing.end();
  }
}

function rangesOf(runs: Runs): PageRange[] {
  return runs.map(([first, count]) => ({ first, count }));
}

/** What was asked and not answered yet. */
class Outstanding {
  #count = 0;
  #ended = false;
  #none = Promise.withResolvers<void>();

  asked(): void {
    this.#count += 1;
  }

  answered(): void {
    this.#count -= 1;
    if (this.#count > 0) return;
    this.#none.resolve();
    this.#none = Promise.withResolvers<void>();
  }

  end(): void {
    this.#ended = true;
    this.#none.resolve();
  }

  none(): Promise<void> {
    return this.#ended || this.#count <= 0 ? Promise.resolve() : this.#none.promise;
  }
}

/** Pages of main RAM that are here as holes: a guest that touches one waits until it is told that it is zeros. */
export class Holes {
  readonly #is: Uint8Array;

  constructor(blocks: readonly BlockSize[]) {
    this.#is = new Uint8Array(pagesOf(blocks.find(({ name }) => name === RAM_BLOCK)?.bytes ?? 0));
  }

  add(page: number): void {
    this.#is[page] = 1;
  }

  has(page: number): boolean {
    return this.#is[page] === 1;
  }

  remove(page: number): void {
    this.#is[page] = 0;
  }

  removeRun(first: number, count: number): void {
    this.#is.fill(0, first, first + count);
  }
}

function whole(written: number, wanted: number): void {
  if (written !== wanted) throw new Error("there is no room for memory that is copied ahead");
}
