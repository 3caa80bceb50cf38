import { randomBytes } from "node:crypto";
import { type FileHandle, open } from "node:fs/promises";
import { PAGE_BYTES } from "../../base/page.ts";
import { RAM_BLOCK } from "../../qemu/command-line.ts";
import type { LocatedBlock } from "../../qemu/ram-blocks.ts";
import type { PageRun } from "../dirty/pages.ts";
import { openTracker, type PagescanTracker } from "../dirty/tracker.ts";
import { type BlockSize, pagesOf } from "../pages/page-map.ts";
import { BasePages, type Lender, readRun } from "../pages/page-source.ts";
import { runsOf } from "./page-runs.ts";

/** By block, pages in a row: first, count. */
export type ChangedRuns = Record<string, [number, number][]>;

const ZEROS = Buffer.alloc(PAGE_BYTES);
const newName = (): string => randomBytes(8).toString("hex");
/** What has been sent of a page: nothing, one content, or perhaps more than one. */
const [NEVER, ONCE, UNCLEAR] = [0, 1, 2] as const;

/**
 * The base before it is one: pages of a guest that still runs, copied ahead. What has to be sent again is known afterwards
 * from what the kernel noted, where memory is tracked; else what was sent is remembered by digest (by pagescan, which
 * compares the whole memory in some 10 ms). Only main RAM: the small blocks are read when the guest stands still.
 */
export class BaseAhead {
  #base = newName();
  /** What whoever has all that was sent under the last name has to let go of to have what was sent under this one. */
  #since: { readonly from: string; readonly changed: ChangedRuns } | undefined;
  readonly blocks: readonly BlockSize[];
  readonly #file: FileHandle;
  readonly #pages: BasePages;
  /** Undefined where memory is tracked. */
  readonly #tracker: PagescanTracker | undefined;
  readonly #sent: Uint8Array;
  /** Pages that were found written after they had been sent. */
  readonly #written: Uint8Array;
  #serving = new Set<Promise<void>>();
  #stopped = false;

  private constructor(blocks: readonly BlockSize[], file: FileHandle, tracker: PagescanTracker | undefined) {
    this.blocks = blocks;
    this.#file = file;
    this.#tracker = tracker;
    const bytes = blocks.find(({ name }) => name === RAM_BLOCK)?.bytes ?? 0;
    this.#pages = new BasePages(RAM_BLOCK, file.fd, bytes, []);
    this.#sent = new Uint8Array(pagesOf(bytes));
    this.#written = new Uint8Array(pagesOf(bytes));
  }

  get base(): string {
    return this.#base;
  }

  get since(): { readonly from: string; readonly changed: ChangedRuns } | undefined {
    return this.#since;
  }

  /** Of memory that is tracked: `written` is to be called with all that is found written from now on. */
  static async tracked(ram_path: string, blocks: readonly BlockSize[]): Promise<BaseAhead> {
    return new BaseAhead(blocks, await open(ram_path, "r"), undefined);
  }

  /** These pages were written, at the latest by now: what was sent of them before counts no more. */
  written(runs: readonly PageRun[]): void {
    for (const { block, first, count } of runs) {
      if (block !== RAM_BLOCK) continue;
      for (let page = first; page < first + count; page += 1) if (this.#sent[page] !== NEVER) this.#written[page] = 1;
    }
  }

  /** Pages, of memory that is tracked, that were sent and are not what they were. */
  get written_pages(): number {
    return this.#written.reduce((sum, is) => sum + is, 0);
  }

  /**
   * What was written is to be sent again, to whoever has what was sent so far: under another name, for no answer that was
   * on its way by then may be taken for a newer one. Memory has to be tracked.
   */
  again(): void {
    this.#since = { from: this.#base, changed: { [RAM_BLOCK]: runsOf(this.#written) } };
    this.#base = newName();
    for (const [page, is] of this.#written.entries()) if (is === 1) this.#sent[page] = NEVER;
    this.#written.fill(0);
  }

  static async open(options: {
    readonly ram_path: string;
    readonly pagescan: string;
    readonly pid: number;
    readonly blocks: readonly LocatedBlock[];
  }): Promise<BaseAhead> {
    const { ram_path, pagescan, pid, blocks } = options;
    const ram = blocks.filter(({ name }) => name === RAM_BLOCK);
    const tracker = await openTracker({ pagescan, pid, blocks: ram, prefer: "sure" });
    const sizes = blocks.map(({ name, bytes }) => ({ name, bytes }));
    return new BaseAhead(sizes, await open(ram_path, "r"), tracker);
  }

  /** Sends pages of the running guest, each as it was read. @param lender where they are read into, until they were sent */
  async serve(
    runs: readonly PageRun[],
    lender: Lender,
    send: (block: string, first: number, pages: readonly (Uint8Array | null)[], onDone: () => void) => void,
  ): Promise<void> {
    const served = this.#serve(runs, lender, send);
    this.#serving.add(served);
    try {
      await served;
    } finally {
      this.#serving.delete(served);
    }
  }

  async #serve(
    runs: readonly PageRun[],
    lender: Lender,
    send: (block: string, first: number, pages: readonly (Uint8Array | null)[], onDone: () => void) => void,
  ): Promise<void> {
    for (const run of runs) {
      if (this.#stopped || run.block !== RAM_BLOCK) continue;
      const { pages: whole, give } = readRun(this.#pages, run, lender);
      if (whole.length === 0) continue;
      // Who asks twice keeps whichever came first: then nothing is known of the page.
      for (const i of whole.keys()) this.#sent[run.first + i] = this.#sent[run.first + i] === NEVER ? ONCE : UNCLEAR;
      const learnt = this.#tracker?.learn(RAM_BLOCK, run.first, Buffer.concat(whole.map((bytes) => bytes ?? ZEROS)));
      send(run.block, run.first, whole, give);
      await learnt;
    }
  }

  /** Nothing more is sent; when this returns everything that was read has been. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.allSettled(this.#serving);
    await this.#file.close();
  }

  /** Pages that were sent and are not what they were; the guest stands still. To be called once, after `stop`. */
  async changed(): Promise<ChangedRuns> {
    const changed = this.#tracker === undefined ? this.#written : await this.#compared(this.#tracker);
    return { [RAM_BLOCK]: runsOf(changed) };
  }

  async #compared(tracker: PagescanTracker): Promise<Uint8Array> {
    const changed = Uint8Array.from(this.#sent, (sent) => (sent === UNCLEAR ? 1 : 0));
    for (const { first, count } of (await tracker.find("sure")).runs) {
      for (let page = first; page < first + count; page += 1) if (this.#sent[page] !== NEVER) changed[page] = 1;
    }
    return changed;
  }

  async close(): Promise<void> {
    await this.#tracker?.[Symbol.asyncDispose]().catch(() => undefined);
  }
}
