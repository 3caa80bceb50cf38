import type { PageRun } from "../dirty/pages.ts";
import { type BlockSize, pagesOf } from "./page-map.ts";

/** Pages that were asked for together. */
export interface AskedRun extends PageRun {
  readonly at_ms: number;
  /** Somebody waits for them. */
  readonly urgent: boolean;
  /** Its number; 0 is nobody's. */
  readonly id: number;
  /** Pages of it that were not answered, and not asked for anew. */
  left: number;
}

const IDS = 2 ** 32;

/**
 * What was asked for and not answered yet, by runs, and for each page a number: which run asked for it last. Nothing is
 * made for a single page, of which there are a quarter of a million a GiB.
 */
export class AskedPages {
  readonly #by: ReadonlyMap<string, Uint32Array>;
  readonly #runs = new Map<number, AskedRun>();
  #last = 0;
  /** Asked for in the background and not answered yet. */
  background_pages = 0;
  /** The same of what somebody waits for. */
  urgent_pages = 0;

  constructor(blocks: readonly BlockSize[]) {
    this.#by = new Map(blocks.map(({ name, bytes }) => [name, new Uint32Array(pagesOf(bytes))]));
  }

  /** In order of asking. Runs may be given up meanwhile. */
  get runs(): IterableIterator<AskedRun> {
    return this.#runs.values();
  }

  /** How the page was asked for last; undefined where it was not, or was answered. */
  of(block: string, page: number): "urgent" | "background" | undefined {
    const run = this.#runs.get(this.#by.get(block)?.[page] ?? 0);
    return run === undefined ? undefined : run.urgent ? "urgent" : "background";
  }

  /** These pages are asked for now: whoever asked for them before waits for them no more. */
  ask({ block, first, count }: PageRun, at_ms: number, urgent: boolean): AskedRun {
    for (let page = first; page < first + count; page += 1) this.answered(block, page);
    do this.#last = (this.#last + 1) % IDS;
    while (this.#last === 0 || this.#runs.has(this.#last));
    const run = { block, first, count, at_ms, urgent, id: this.#last, left: count };
    this.#by.get(block)?.fill(run.id, first, first + count);
    this.#runs.set(run.id, run);
    if (urgent) this.urgent_pages += count;
    else this.background_pages += count;
    return run;
  }

  /** @returns the run that waited for it, if any does */
  answered(block: string, page: number): AskedRun | undefined {
    const by = this.#by.get(block);
    const run = this.#runs.get(by?.[page] ?? 0);
    if (by === undefined || run === undefined) return undefined;
    by[page] = 0;
    if (run.urgent) this.urgent_pages -= 1;
    else this.background_pages -= 1;
    run.left -= 1;
    if (run.left === 0) this.#runs.delete(run.id);
    return run;
  }

  /** @returns the pages of it that were still waited for, and are not any more */
  giveUp({ block, first, count, id }: AskedRun): number[] {
    const by = this.#by.get(block);
    const pages: number[] = [];
    for (let page = first; page < first + count; page += 1) {
      if (by?.[page] !== id) continue;
      pages.push(page);
      this.answered(block, page);
    }
    return pages;
  }

  /** Everything is given up. @returns the pages that somebody waits for */
  clear(): { readonly block: string; readonly page: number }[] {
    const urgent: { readonly block: string; readonly page: number }[] = [];
    for (const run of [...this.#runs.values()])
      for (const page of this.giveUp(run)) if (run.urgent) urgent.push({ block: run.block, page });
    return urgent;
  }
}
