import { closeSync, ftruncateSync, openSync, writevSync } from "node:fs";
import { PAGE_BYTES } from "../../base/page.ts";
import { unlinkLarge } from "../../base/unlink.ts";
import { RAM_BLOCK } from "../../qemu/command-line.ts";
import type { PageRun } from "../dirty/pages.ts";
import type { SmallBlock } from "../dirty/small-blocks.ts";
import { COPY_ASKS } from "../pages/copy-asks.ts";
import { PageFetcher } from "../pages/fetcher.ts";
import type { PageAnswer } from "../pages/page-frames.ts";
import { type BlockSize, PageMap } from "../pages/page-map.ts";
import { BasePages, type PageSource } from "../pages/page-source.ts";

const TICK_MS = 2;
/** A tmpfs that was full is tried again after so long. */
const FULL_AGAIN_MS = 250;
const ZEROS = Buffer.alloc(PAGE_BYTES);

export interface BaseCopyOptions {
  readonly path: string;
  readonly blocks: readonly BlockSize[];
  /** Sends a request to whoever has the base; false where nobody is reached. */
  readonly ask: (runs: readonly PageRun[]) => boolean;
  /** Whether something comes that the copy has to leave room for. */
  readonly yields?: () => boolean;
  /** Something came. */
  readonly onProgress: () => void;
}

/**
 * A copy of the base, fetched from the other end of memory than the target's: what both have together covers the base
 * after half the time. Main RAM goes into a file, the small blocks into memory.
 */
export class BaseCopy implements PageSource {
  readonly blocks: readonly BlockSize[];
  readonly path: string;
  readonly #map: PageMap;
  readonly #fetcher: PageFetcher;
  readonly #fd: number;
  readonly #small: readonly SmallBlock[];
  readonly #pages: BasePages;
  #ticking: NodeJS.Timeout;
  readonly #yields: () => boolean;
  readonly #onProgress: () => void;
  /** Pages whose place still has what was discarded: there even zeros have to be written. */
  readonly #stale: PageMap;
  #closed = false;
  /** Its tmpfs was full: it takes nothing, and asks for nothing, until then. */
  #full_until_ms = Number.NEGATIVE_INFINITY;

  private constructor(options: BaseCopyOptions, fd: number, whole?: readonly SmallBlock[]) {
    this.blocks = options.blocks;
    this.path = options.path;
    this.#fd = fd;
    this.#yields = options.yields ?? (() => false);
    this.#onProgress = options.onProgress;
    this.#map = new PageMap(options.blocks);
    this.#stale = new PageMap(options.blocks);
    this.#small =
      whole ??
      options.blocks
        .filter(({ name }) => name !== RAM_BLOCK)
        .map(({ name, bytes }) => ({ name, content: Buffer.alloc(bytes) }));
    if (whole !== undefined) this.#map.addAll();
    const ram = options.blocks.find(({ name }) => name === RAM_BLOCK)?.bytes ?? 0;
    this.#pages = new BasePages(RAM_BLOCK, fd, ram, this.#small);
    this.#fetcher = new PageFetcher({
      ...COPY_ASKS,
      map: this.#map,
      ask: options.ask,
      deliver: (block, first, pages) => this.#store(block, first, pages),
    });
    this.#ticking = setInterval(() => this.#tick(), TICK_MS);
  }

  static begin(options: BaseCopyOptions): BaseCopy {
    unlinkLarge(options.path);
    const fd = openSync(options.path, "wx+");
    ftruncateSync(fd, options.blocks.find(({ name }) => name === RAM_BLOCK)?.bytes ?? 0);
    return new BaseCopy(options, fd);
  }

  /** A copy that was complete, from its file and the content of the small blocks. @throws Error where the file is gone */
  static reopen(options: BaseCopyOptions, small: readonly SmallBlock[]): BaseCopy {
    return new BaseCopy(options, openSync(options.path, "r+"), small);
  }

  get complete(): boolean {
    return this.#map.complete;
  }

  /** Content of the blocks that are in no file; whole when `complete`. */
  get small(): readonly SmallBlock[] {
    return this.#small;
  }

  /** By block: all pages at and above this number are here. */
  heldFrom(): Record<string, number> {
    return Object.fromEntries(this.blocks.map(({ name }) => [name, this.#map.lastMissing(name) + 1]));
  }

  /** What its file may still grow by, at most. */
  get missing_bytes(): number {
    return (this.#map.pages_total - this.#map.count) * PAGE_BYTES;
  }

  /** How much of all pages is here, 0 to 1. */
  get share(): number {
    return this.#map.count / this.#map.pages_total;
  }

  /**
   * These pages are not what they were when they were fetched: they are fetched again. No older answer may be handed in
   * any more.
   */
  discard(runs: readonly (readonly [block: string, first: number, count: number])[]): void {
    for (const [block, first, count] of runs) {
      for (let page = first; page < first + count; page += 1) {
        if (!this.#map.knows(block, page)) continue;
        if (this.#map.has(block, page)) this.#stale.add(block, page);
        this.#map.remove(block, page);
      }
    }
    this.#fetcher.askAgain();
    clearInterval(this.#ticking);
    this.#ticking = setInterval(() => this.#tick(), TICK_MS);
  }

  answered(answer: Pick<PageAnswer, "block" | "first" | "pages">): void {
    if (this.#closed || performance.now() < this.#full_until_ms) return;
    this.#fetcher.answered(answer);
    this.#tick();
  }

  read(run: PageRun): readonly (Uint8Array | null | undefined)[] {
    return this.#pages.read(run).map((bytes, i) => (this.#map.has(run.block, run.first + i) ? bytes : undefined));
  }

  close(): void {
    this.#closed = true;
    clearInterval(this.#ticking);
    closeSync(this.#fd);
    unlinkLarge(this.path);
  }

  #tick(): void {
    const now_ms = performance.now();
    this.#fetcher.yields = this.#yields();
    if (this.#map.complete) clearInterval(this.#ticking);
    else if (now_ms >= this.#full_until_ms) this.#fetcher.tick(now_ms);
  }

  /** @throws Error when there is no room: the copy stays as far as it came, and goes on when there may be room again */
  #store(block: string, first: number, pages: readonly (Uint8Array | null)[]): void {
    try {
      // What is all zeros stays a hole.
      const contents = pages.map((bytes, i) => bytes ?? (this.#stale.has(block, first + i) ? ZEROS : null));
      if (block === RAM_BLOCK) writeRuns(this.#fd, first, contents);
      else {
        const content = this.#small.find(({ name }) => name === block)?.content;
        for (const [i, bytes] of contents.entries()) if (bytes !== null) content?.set(bytes, (first + i) * PAGE_BYTES);
      }
    } catch (error) {
      this.#full_until_ms = performance.now() + FULL_AGAIN_MS;
      for (let page = first; page < first + pages.length; page += 1) this.#map.remove(block, page);
      // Answered they are asked for by nobody, and the search has passed them.
      this.#fetcher.askAgain();
      throw error;
    }
    for (let page = first; page < first + pages.length; page += 1) this.#stale.remove(block, page);
    this.#onProgress();
  }
}

/** Writes pages at their places; what is null is left alone. @throws Error when the tmpfs is full */
function writeRuns(fd: number, first: number, contents: readonly (Uint8Array | null)[]): void {
  for (let i = 0; i < contents.length; ) {
    const run: Uint8Array[] = [];
    const at = (first + i) * PAGE_BYTES;
    for (; i < contents.length && contents[i] !== null; i += 1) run.push(contents[i] as Uint8Array);
    if (run.length === 0) i += 1;
    else if (writevSync(fd, run, at) !== run.length * PAGE_BYTES)
      throw new Error("there is no room for the copy of the base");
  }
}
