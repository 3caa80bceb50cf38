import { readSync } from "node:fs";
import { PAGE_BYTES } from "../../base/page.ts";
import type { PageRun } from "../dirty/pages.ts";
import type { SmallBlock } from "../dirty/small-blocks.ts";

const ZEROS = Buffer.alloc(PAGE_BYTES);

/** Whoever has pages of the base. */
export interface PageSource {
  /** Pages of a run as far as they are here, in order: content, or null for zeros; undefined where one is missing. */
  read(run: PageRun): readonly (Uint8Array | null | undefined)[];
}

/**
 * The base: main RAM in a file, the small blocks in memory. Reads by `pread`: a hole reads as zeros and stays a hole
 * (harness/qemu/FACTS.md, "RAM blocks"). Reads at once and not in a thread: the file is on a tmpfs, and handing 256 KiB
 * over to a thread and back takes several times as long as copying them.
 */
export class BasePages implements PageSource {
  readonly #block: string;
  readonly #fd: number;
  readonly #bytes: number;
  readonly #small: ReadonlyMap<string, Buffer>;

  constructor(block: string, fd: number, bytes: number, small: readonly SmallBlock[]) {
    this.#block = block;
    this.#fd = fd;
    this.#bytes = bytes;
    this.#small = new Map(small.map(({ name, content }) => [name, content]));
  }

  /** @param into what is in the file is read into it: as long as the run, or longer */
  read({ block, first, count }: PageRun, into?: Buffer): readonly (Uint8Array | null | undefined)[] {
    const content = block === this.#block ? this.#fromFile(first, count, into) : this.#small.get(block);
    const start = block === this.#block ? 0 : first * PAGE_BYTES;
    const pages: (Uint8Array | null | undefined)[] = [];
    for (let i = 0; i < count; i += 1) {
      const page = content?.subarray(start + i * PAGE_BYTES, start + (i + 1) * PAGE_BYTES);
      pages.push(page?.length === PAGE_BYTES ? (page.equals(ZEROS) ? null : page) : undefined);
    }
    return pages;
  }

  #fromFile(first: number, count: number, into?: Buffer): Buffer | undefined {
    const at = first * PAGE_BYTES;
    const length = Math.min(count * PAGE_BYTES, this.#bytes - at);
    if (length <= 0) return undefined;
    const buffer = into ?? Buffer.allocUnsafe(length);
    return buffer.subarray(0, readSync(this.#fd, buffer, 0, length, at));
  }
}

/** The pages of an answer up to the first that is missing: what came behind it would be taken for it. */
export function upToFirstMissing(pages: readonly (Uint8Array | null | undefined)[]): readonly (Uint8Array | null)[] {
  const end = pages.indexOf(undefined);
  return (end < 0 ? pages : pages.slice(0, end)) as readonly (Uint8Array | null)[];
}

/** Where memory comes from that is used again (wire/buffer-pool.ts). */
export interface Lender {
  take(bytes: number): Buffer;
  give(buffer: Uint8Array): void;
}

/**
 * A run as far as it is here, up to the first page that is missing, in memory of the lender's. It has to be given back by
 * `give` when nobody looks at the pages any more: when they have been sent.
 */
export function readRun(
  source: BasePages,
  run: PageRun,
  lender: Lender,
): { readonly pages: readonly (Uint8Array | null)[]; readonly give: () => void } {
  const into = lender.take(run.count * PAGE_BYTES);
  return { pages: upToFirstMissing(source.read(run, into)), give: () => lender.give(into) };
}
