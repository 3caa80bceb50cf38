import { open, readFile } from "node:fs/promises";
import { PAGE_BYTES } from "../base/page.ts";
import type { LocatedBlock } from "../qemu/ram-blocks.ts";
import type { PageRun, PageSet } from "../txsync/dirty/pages.ts";
import type { DirtyTracker, PagescanTracker } from "../txsync/dirty/tracker.ts";
import { blockSeed, DigestSum, digestHex, type Lanes, pageLanes } from "../txsync/log/index.ts";
import type { Transaction } from "../txsync/transaction/transaction.ts";
import type { Base } from "./ram-file.ts";

const ZEROS = Buffer.alloc(PAGE_BYTES);

/**
 * Sees the target's memory while a transaction is taken, all of it that has arrived, and keeps what an escrow would
 * have: after every transaction that is stored, base and log have to give what was seen, and its digest has to be theirs.
 */
export class Witness {
  readonly #base: Base;
  readonly #blocks: readonly LocatedBlock[];
  readonly #pid: number;
  readonly #images: Map<string, Buffer>;
  readonly #lanes = new Map<string, Lanes>();
  /** By block, what was there, and its content. */
  #seen = new Map<string, { readonly runs: readonly PageRun[]; readonly content: Buffer }>();
  /** Pages, over all transactions, that base and log do not give. */
  wrong_pages = 0;
  wrong_digests = 0;
  pages_compared = 0;

  private constructor(base: Base, blocks: readonly LocatedBlock[], pid: number, images: Map<string, Buffer>) {
    this.#base = base;
    this.#blocks = blocks;
    this.#pid = pid;
    this.#images = images;
  }

  static async of(base: Base, blocks: readonly LocatedBlock[], pid: number): Promise<Witness> {
    return new Witness(base, blocks, pid, await imagesOf(base));
  }

  /** The tracker, watched. */
  watching(tracker: PagescanTracker): Pick<DirtyTracker, "take" | "collect" | "release"> {
    return {
      collect: () => tracker.collect(),
      release: () => tracker.release(),
      take: async (n, since) => {
        const taken = await tracker.take(n, since);
        await this.#look(tracker);
        return taken;
      },
    };
  }

  async #look(tracker: PagescanTracker): Promise<void> {
    this.#seen = new Map();
    for (const { name, bytes, where } of this.#blocks) {
      const runs = await tracker.present(name);
      const content = Buffer.allocUnsafe(bytes);
      await using file = await open(where.kind === "file" ? where.path : `/proc/${this.#pid}/mem`, "r");
      const start = where.kind === "file" ? 0 : Number(where.address);
      for (const { first, count } of runs) {
        await file.read(content, first * PAGE_BYTES, count * PAGE_BYTES, start + first * PAGE_BYTES);
      }
      this.#seen.set(name, { runs, content });
    }
  }

  /** The transaction seen last is stored. */
  async stored({ since, digest, modified_pages }: Transaction, pages: PageSet): Promise<void> {
    if (since === "base") {
      // It stands alone: what came before is thrown away.
      for (const [name, image] of await imagesOf(this.#base)) this.#images.set(name, image);
      this.#lanes.clear();
    }
    for (const { block, page, bytes } of pages) {
      const content = Buffer.from(bytes ?? ZEROS);
      content.copy(this.#images.get(block) ?? Buffer.alloc(0), page * PAGE_BYTES);
      this.#lanes.set(`${block}:${page}`, pageLanes(blockSeed(block), page, content));
    }
    for (const [name, { runs, content }] of this.#seen) {
      const image = this.#images.get(name) ?? Buffer.alloc(0);
      for (const { first, count } of runs) {
        this.pages_compared += count;
        for (let at = first * PAGE_BYTES; at < (first + count) * PAGE_BYTES; at += PAGE_BYTES) {
          if (image.compare(content, at, at + PAGE_BYTES, at, at + PAGE_BYTES) !== 0) this.wrong_pages++;
        }
      }
    }
    const sum = new DigestSum();
    for (const { lane1, lane2 } of this.#lanes.values()) sum.add(lane1, lane2);
    const is = sum.hex === digestHex(digest.lane1, digest.lane2) && sum.pages === modified_pages;
    if (!is) this.wrong_digests++;
  }
}

async function imagesOf(base: Base): Promise<Map<string, Buffer>> {
  const small = base.small.map(({ name, content }) => [name, Buffer.from(content)] as const);
  return new Map([[base.block, await readFile(base.path)], ...small]);
}
