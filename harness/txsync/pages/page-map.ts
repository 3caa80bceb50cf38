import { PAGE_BYTES } from "../../base/page.ts";

/** A RAM block, as the migration stream names it. */
export interface BlockSize {
  readonly name: string;
  readonly bytes: number;
}

/** Which pages of each RAM block somebody has. A page once there stays there, unless it is taken back. */
export class PageMap {
  readonly blocks: readonly BlockSize[];
  readonly pages_total: number;
  readonly #bits: ReadonlyMap<string, Uint8Array>;
  readonly #left = new Map<string, number>();
  #count = 0;

  constructor(blocks: readonly BlockSize[]) {
    this.blocks = blocks;
    this.#bits = new Map(blocks.map(({ name, bytes }) => [name, new Uint8Array(pagesOf(bytes))]));
    for (const { name, bytes } of blocks) this.#left.set(name, pagesOf(bytes));
    this.pages_total = blocks.reduce((sum, { bytes }) => sum + pagesOf(bytes), 0);
  }

  /** Pages that are there. */
  get count(): number {
    return this.#count;
  }

  get complete(): boolean {
    return this.#count === this.pages_total;
  }

  /** Whether the page exists at all. */
  knows(block: string, page: number): boolean {
    const bits = this.#bits.get(block);
    return bits !== undefined && Number.isSafeInteger(page) && page >= 0 && page < bits.length;
  }

  has(block: string, page: number): boolean {
    return this.#bits.get(block)?.[page] === 1;
  }

  addAll(): void {
    for (const { name, bytes } of this.blocks)
      for (let page = 0; page < pagesOf(bytes); page += 1) this.add(name, page);
  }

  /** @returns whether it was not there before. @throws RangeError for a page that is nowhere. */
  add(block: string, page: number): boolean {
    const bits = this.#of(block, page);
    if (bits[page] === 1) return false;
    bits[page] = 1;
    this.#count += 1;
    this.#left.set(block, (this.#left.get(block) ?? 0) - 1);
    return true;
  }

  remove(block: string, page: number): void {
    const bits = this.#of(block, page);
    if (bits[page] === 0) return;
    bits[page] = 0;
    this.#count -= 1;
    this.#left.set(block, (this.#left.get(block) ?? 0) + 1);
  }

  /** Takes pages in a row back, those that are there. @throws RangeError for one that is nowhere. */
  removeRun(block: string, first: number, count: number): void {
    const bits = this.#of(block, first + count - 1);
    let removed = 0;
    for (let page = first; page < first + count; page += 1) removed += bits[page] ?? 0;
    bits.fill(0, first, first + count);
    this.#count -= removed;
    this.#left.set(block, (this.#left.get(block) ?? 0) + removed);
  }

  /** Pages of a block that are missing. */
  missing(block: string): number {
    return this.#left.get(block) ?? 0;
  }

  /** The first missing page at or after `from`; -1 when there is none. */
  firstMissing(block: string, from = 0): number {
    if (this.missing(block) === 0) return -1;
    return this.#bits.get(block)?.indexOf(0, Math.max(from, 0)) ?? -1;
  }

  /** The last missing page at or before `from`; -1 when there is none. */
  lastMissing(block: string, from = Number.POSITIVE_INFINITY): number {
    if (from < 0 || this.missing(block) === 0) return -1;
    const bits = this.#bits.get(block);
    return bits === undefined ? -1 : bits.lastIndexOf(0, Math.min(from, bits.length - 1));
  }

  #of(block: string, page: number): Uint8Array {
    const bits = this.#bits.get(block);
    if (bits === undefined || !this.knows(block, page))
      throw new RangeError(`there is no page ${page} of RAM block ${block}`);
    return bits;
  }
}

export function pagesOf(bytes: number): number {
  return Math.ceil(bytes / PAGE_BYTES);
}
