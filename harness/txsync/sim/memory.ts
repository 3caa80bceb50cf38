/** Pages of the model. */
export const PAGES = 100;

/** What stands in each page: the number of the write that made it so. */
export type Memory = Int32Array;

/** Pages of one record, by number, and what stands in them. */
export interface Changes {
  readonly pages: readonly number[];
  readonly contents: readonly number[];
}

export function sameMemory(a: Memory, b: Memory): boolean {
  for (let page = 0; page < a.length; page += 1) if (a[page] !== b[page]) return false;
  return a.length === b.length;
}

export function apply(memory: Memory, { pages, contents }: Changes): void {
  for (const [i, page] of pages.entries()) memory[page] = contents[i] ?? 0;
}

/**
 * Which pages changed since which transaction: per page the number of the last one that found it changed. Dropped
 * transactions leave it as it is. It lies in the host's memory, so that it outlives its agent.
 */
export class PageTable {
  readonly #noted: Uint8Array;
  readonly #numbers: Int32Array;

  constructor(pages = PAGES) {
    this.#noted = new Uint8Array(pages);
    this.#numbers = new Int32Array(pages);
  }

  copy(): PageTable {
    const copy = new PageTable(this.#noted.length);
    copy.#noted.set(this.#noted);
    copy.#numbers.set(this.#numbers);
    return copy;
  }

  /** All that it knows, for whoever compares tables. */
  get marks(): readonly number[] {
    return Array.from(this.#numbers, (number, page) => 2 * number + (this.#noted[page] ?? 0));
  }

  /** The guest writes. */
  note(page: number): void {
    this.#noted[page] = 1;
  }

  /** Transaction n is taken: what was written since the one before is its. */
  collect(n: number): void {
    for (let page = 0; page < this.#noted.length; page += 1) {
      if (this.#noted[page] === 0) continue;
      this.#noted[page] = 0;
      this.#numbers[page] = n;
    }
  }

  /** Pages that changed since transaction `since` was taken; since 0: ever. */
  since(since: number): number[] {
    const pages: number[] = [];
    for (let page = 0; page < this.#numbers.length; page += 1) if ((this.#numbers[page] ?? 0) > since) pages.push(page);
    return pages;
  }

  /** As it must never be. */
  forget(): void {
    this.#numbers.fill(0);
  }
}
