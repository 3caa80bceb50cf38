import { rmSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { RAM_BLOCK } from "../../qemu/command-line.ts";
import type { PageRun } from "../dirty/pages.ts";
import { PAGE_BYTES } from "../dirty/pages.ts";
import type { SmallBlock } from "../dirty/small-blocks.ts";
import { PageFetcher } from "../pages/fetcher.ts";
import type { PageAnswer } from "../pages/page-frames.ts";
import { type BlockSize, PageMap } from "../pages/page-map.ts";
import { BasePages, type PageSource } from "../pages/page-source.ts";

const TICK_MS = 2;
const WINDOW_PAGES = 512;
const RETRY_MS = 250;
const ZEROS = Buffer.alloc(PAGE_BYTES);

export interface BaseCopyOptions {
  readonly path: string;
  readonly blocks: readonly BlockSize[];
  /** Sends a request to whoever has the base; false where nobody is reached. */
  readonly ask: (runs: readonly PageRun[]) => boolean;
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
  readonly #file: FileHandle;
  readonly #small: SmallBlock[];
  readonly #pages: BasePages;
  #ticking: NodeJS.Timeout;
  #storing: Promise<unknown> = Promise.resolve();
  readonly #onProgress: () => void;
  /** Pages that are really in the file, not only under way to it. */
  readonly #stored: PageMap;
  /** Pages whose place still has what was discarded: there even zeros have to be written. */
  readonly #stale: PageMap;
  #closed = false;

  private constructor(options: BaseCopyOptions, file: FileHandle) {
    this.blocks = options.blocks;
    this.path = options.path;
    this.#file = file;
    this.#onProgress = options.onProgress;
    this.#map = new PageMap(options.blocks);
    this.#stored = new PageMap(options.blocks);
    this.#stale = new PageMap(options.blocks);
    this.#small = options.blocks
      .filter(({ name }) => name !== RAM_BLOCK)
      .map(({ name, bytes }) => ({ name, content: Buffer.alloc(bytes) }));
    const ram = options.blocks.find(({ name }) => name === RAM_BLOCK)?.bytes ?? 0;
    this.#pages = new BasePages(RAM_BLOCK, file, ram, this.#small);
    this.#fetcher = new PageFetcher({
      map: this.#map,
      order: "descending",
      window_pages: WINDOW_PAGES,
      bytes_per_s: 0,
      retry_ms: RETRY_MS,
      ask: options.ask,
      deliver: (block, first, pages) => {
        // One after the other: a page that was discarded and came again must not be overtaken by its older self.
        this.#storing = this.#storing.then(() => this.#store(block, first, pages));
      },
    });
    this.#ticking = setInterval(() => this.#tick(), TICK_MS);
  }

  static async begin(options: BaseCopyOptions): Promise<BaseCopy> {
    rmSync(options.path, { force: true });
    const file = await open(options.path, "wx+");
    await file.truncate(options.blocks.find(({ name }) => name === RAM_BLOCK)?.bytes ?? 0);
    return new BaseCopy(options, file);
  }

  get complete(): boolean {
    return this.#stored.complete;
  }

  get pages_left(): number {
    return this.#stored.pages_total - this.#stored.count;
  }

  /** Content of the blocks that are in no file; whole when `complete`. */
  get small(): readonly SmallBlock[] {
    return this.#small;
  }

  /** By block: all pages at and above this number are here. */
  heldFrom(): Record<string, number> {
    return Object.fromEntries(this.blocks.map(({ name }) => [name, this.#stored.lastMissing(name) + 1]));
  }

  /** How much of all pages is here, 0 to 1. */
  get share(): number {
    return this.#stored.count / this.#stored.pages_total;
  }

  /**
   * These pages are not what they were when they were fetched: they are fetched again. To be called when no older
   * answer can come any more.
   */
  async discard(runs: readonly (readonly [block: string, first: number, count: number])[]): Promise<void> {
    // What is still on its way into the file would count as there when it arrives.
    await this.#storing;
    for (const [block, first, count] of runs) {
      for (let page = first; page < first + count; page += 1) {
        if (!this.#map.knows(block, page)) continue;
        if (this.#map.has(block, page)) this.#stale.add(block, page);
        this.#map.remove(block, page);
        this.#stored.remove(block, page);
      }
    }
    this.#fetcher.askAgain();
    clearInterval(this.#ticking);
    this.#ticking = setInterval(() => this.#tick(), TICK_MS);
  }

  answered(answer: PageAnswer): void {
    if (this.#closed) return;
    this.#fetcher.answered(answer);
    this.#tick();
  }

  askAgain(): void {
    this.#fetcher.askAgain();
  }

  async read(run: PageRun): Promise<readonly (Uint8Array | null | undefined)[]> {
    // Before and after: a page that was stored while it was read may have been read as the hole it was.
    const has = (i: number): boolean => this.#stored.has(run.block, run.first + i);
    const here = Array.from({ length: run.count }, (_, i) => has(i));
    const pages = await this.#pages.read(run);
    return pages.map((bytes, i) => (here[i] === true && has(i) ? bytes : undefined));
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#ticking);
    await this.#storing;
    await this.#file.close();
    rmSync(this.path, { force: true });
  }

  #tick(): void {
    if (this.#map.complete) clearInterval(this.#ticking);
    else this.#fetcher.tick(performance.now());
  }

  async #store(block: string, first: number, pages: readonly (Uint8Array | null)[]): Promise<void> {
    if (this.#closed) return;
    // What is all zeros stays a hole.
    const contents = pages.map((bytes, i) => bytes ?? (this.#stale.has(block, first + i) ? ZEROS : null));
    if (block === RAM_BLOCK) {
      for (let i = 0; i < contents.length; ) {
        const run: Uint8Array[] = [];
        const at = first + i;
        for (; i < contents.length && contents[i] !== null; i += 1) run.push(contents[i] as Uint8Array);
        if (run.length > 0) await this.#file.writev(run, at * PAGE_BYTES);
        else i += 1;
      }
    } else {
      const content = this.#small.find(({ name }) => name === block)?.content;
      for (const [i, bytes] of contents.entries()) if (bytes !== null) content?.set(bytes, (first + i) * PAGE_BYTES);
    }
    for (let page = first; page < first + pages.length; page += 1) {
      this.#stale.remove(block, page);
      this.#stored.add(block, page);
    }
    if (!this.#closed) this.#onProgress();
  }
}
