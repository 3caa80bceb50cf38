import type { PageRun } from "../dirty/pages.ts";
import { type BlockSize, pagesOf } from "../pages/page-map.ts";

/** Looks that can be told apart: of every fifth of a second, three hours and a half. */
const LOOKS_MAX = 2 ** 16 - 1;

/**
 * When each page was found written last: how much of memory a guest writes within some time, however often it writes the
 * same page. Two bytes for each page.
 */
export class LastFound {
  readonly #looks: ReadonlyMap<string, Uint16Array>;
  /** Of each look, from 1 on, when it was. */
  #at_ms: number[] = [];

  constructor(blocks: readonly BlockSize[]) {
    this.#looks = new Map(blocks.map(({ name, bytes }) => [name, new Uint16Array(pagesOf(bytes))]));
  }

  /** A look has found these. Clock: only forward. */
  found(runs: readonly PageRun[], now_ms: number): void {
    if (this.#at_ms.length === LOOKS_MAX) {
      this.#at_ms = [];
      for (const looks of this.#looks.values()) looks.fill(0);
    }
    this.#at_ms.push(now_ms);
    for (const { block, first, count } of runs) this.#looks.get(block)?.fill(this.#at_ms.length, first, first + count);
  }

  /** Pages that were written since then for sure, each once: by the looks of which the one before was then or later. */
  since(from_ms: number): number {
    const before = this.#at_ms.findIndex((at_ms) => at_ms >= from_ms) + 1;
    if (before === 0) return 0;
    let pages = 0;
    for (const looks of this.#looks.values()) for (const last of looks) if (last > before) pages += 1;
    return pages;
  }
}
