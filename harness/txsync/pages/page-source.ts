import type { FileHandle } from "node:fs/promises";
import { PAGE_BYTES, type PageRun } from "../dirty/pages.ts";
import type { SmallBlock } from "../dirty/small-blocks.ts";

const ZEROS = Buffer.alloc(PAGE_BYTES);

/** Whoever has pages of the base. */
export interface PageSource {
  /** Pages of a run as far as they are here, in order: content, or null for zeros; undefined where one is missing. */
  read(run: PageRun): Promise<readonly (Uint8Array | null | undefined)[]>;
}

/**
 * The base: main RAM in a file, the small blocks in memory. Reads by `pread`: a hole reads as zeros and stays a hole
 * (QEMU-FACTS.md, "RAM blocks").
 */
export class BasePages implements PageSource {
  readonly #block: string;
  readonly #file: FileHandle;
  readonly #bytes: number;
  readonly #small: ReadonlyMap<string, Buffer>;

  constructor(block: string, file: FileHandle, bytes: number, small: readonly SmallBlock[]) {
    this.#block = block;
    this.#file = file;
    this.#bytes = bytes;
    this.#small = new Map(small.map(({ name, content }) => [name, content]));
  }

  async read({ block, first, count }: PageRun): Promise<readonly (Uint8Array | null | undefined)[]> {
    const content = block === this.#block ? await this.#fromFile(first, count) : this.#small.get(block);
    const start = block === this.#block ? 0 : first * PAGE_BYTES;
    const pages: (Uint8Array | null | undefined)[] = [];
    for (let i = 0; i < count; i += 1) {
      const page = content?.subarray(start + i * PAGE_BYTES, start + (i + 1) * PAGE_BYTES);
      pages.push(page?.length === PAGE_BYTES ? (page.equals(ZEROS) ? null : page) : undefined);
    }
    return pages;
  }

  async #fromFile(first: number, count: number): Promise<Buffer | undefined> {
    const at = first * PAGE_BYTES;
    const length = Math.min(count * PAGE_BYTES, this.#bytes - at);
    if (length <= 0) return undefined;
    const buffer = Buffer.allocUnsafe(length);
    const { bytesRead } = await this.#file.read(buffer, 0, length, at);
    return buffer.subarray(0, bytesRead);
  }
}
