import { closeSync, openSync, readSync, writevSync } from "node:fs";
import { UserError } from "../../base/errors.ts";
import { PAGE_BYTES } from "../../base/page.ts";
import type { SmallBlock } from "../dirty/small-blocks.ts";
import { blockSeed, DigestSum, type ModifiedSet, pageLanes } from "../log/index.ts";
import type { BlockSize } from "../pages/page-map.ts";

const ZEROS = Buffer.alloc(PAGE_BYTES);
const CHUNK_PAGES = 1 << 16;
/** Pages that are written, and read back, in one go. */
const RUN_PAGES_MAX = 64;

/** One page as it comes: `bytes` null where it is all zeros. */
export interface PlacedPage {
  readonly block: string;
  readonly page: number;
  readonly bytes: Uint8Array | null;
}

/** A page was laid over: since the image was begun anew, or only before that. */
const [NOW, BEFORE] = [1, 2] as const;

/** What was laid over a block, and what it gave when it was read back. Memory only where something was. */
class Laid {
  readonly seed: number;
  /** Pages that were laid over before, and not since. */
  strays = 0;
  readonly #chunks: ({ is: Uint8Array; lane1: Int32Array; lane2: Int32Array } | undefined)[] = [];

  constructor(name: string) {
    this.seed = blockSeed(name);
  }

  /** The page holds this now; takes what it held before, if it was laid over, out of the sum. */
  note(page: number, bytes: Uint8Array, sum: DigestSum): void {
    const at = Math.floor(page / CHUNK_PAGES);
    this.#chunks[at] ??= {
      is: new Uint8Array(CHUNK_PAGES),
      lane1: new Int32Array(CHUNK_PAGES),
      lane2: new Int32Array(CHUNK_PAGES),
    };
    const chunk = this.#chunks[at];
    const i = page % CHUNK_PAGES;
    if (chunk.is[i] === NOW) sum.remove(chunk.lane1[i] as number, chunk.lane2[i] as number);
    if (chunk.is[i] === BEFORE) this.strays -= 1;
    const { lane1, lane2 } = pageLanes(this.seed, page, bytes);
    chunk.is[i] = NOW;
    chunk.lane1[i] = lane1;
    chunk.lane2[i] = lane2;
    sum.add(lane1, lane2);
  }

  beginAnew(): void {
    for (const chunk of this.#chunks)
      for (const [i, is] of chunk?.is.entries() ?? []) {
        if (is !== NOW) continue;
        if (chunk !== undefined) chunk.is[i] = BEFORE;
        this.strays += 1;
      }
  }
}

/**
 * Guest memory that transactions are laid over, in place: main RAM in its file, the small blocks in memory. Whatever was
 * written is read back, and its digest kept, so that in the end it can be said what the file holds and not what was
 * meant to be written. A page twice is a page once; begun again after a crash in the middle it comes to the same.
 *
 * No undo: a page of a committed transaction is one that the target has, so nobody asks the base for it any more; and
 * every later record since the base has it again, because the modified set never forgets.
 */
export class RamImage implements Disposable {
  readonly path: string;
  readonly #file_block: string;
  readonly #bytes: number;
  readonly #fd: number;
  readonly #small: ReadonlyMap<string, Buffer>;
  readonly #laid = new Map<string, Laid>();
  #sum = new DigestSum();
  #run: Buffer[] = [];
  #run_first = 0;
  readonly #back = Buffer.allocUnsafe(RUN_PAGES_MAX * PAGE_BYTES);

  private constructor(path: string, fd: number, file_block: string, bytes: number, small: readonly SmallBlock[]) {
    this.path = path;
    this.#fd = fd;
    this.#file_block = file_block;
    this.#bytes = bytes;
    this.#small = new Map(small.map(({ name, content }) => [name, Buffer.from(content)]));
  }

  /** @param small content of the blocks that are in no file; copied. @throws Error where the file cannot be written */
  static open(path: string, file_block: string, blocks: readonly BlockSize[], small: readonly SmallBlock[]): RamImage {
    const bytes = blocks.find(({ name }) => name === file_block)?.bytes ?? 0;
    return new RamImage(path, openSync(path, "r+"), file_block, bytes, small);
  }

  get small(): readonly SmallBlock[] {
    return [...this.#small].map(([name, content]) => ({ name, content }));
  }

  /** Of all pages that were laid over, as they were read back: how many, and their digest. Call `flush` first. */
  get modified(): ModifiedSet {
    return { modified_pages: this.#sum.pages, digest: this.#sum.hex };
  }

  /** From here on the digest is of what comes: a record since the base says it all again. */
  beginAnew(): void {
    this.#run = [];
    for (const laid of this.#laid.values()) laid.beginAnew();
    this.#sum = new DigestSum();
  }

  /**
   * Pages that were laid over before the image was begun anew, and not since. Where a record since the base is laid over
   * whole there are none: the modified set never forgets. One that is left holds neither the base's content nor the
   * record's, and no digest of the modified set can tell.
   */
  get strays(): number {
    let strays = 0;
    for (const laid of this.#laid.values()) strays += laid.strays;
    return strays;
  }

  /** @throws RangeError for a page that is nowhere; UserError where there is no room. */
  put({ block, page, bytes }: PlacedPage): void {
    const content = bytes === null ? ZEROS : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const at = page * PAGE_BYTES;
    if (block !== this.#file_block) {
      const into = this.#small.get(block);
      if (into === undefined) throw new RangeError(`a transaction has RAM block ${block}, the base has not`);
      if (at + PAGE_BYTES > into.length) throw new RangeError(`page ${page} is outside ${block}`);
      content.copy(into, at);
      this.#note(block, page, into.subarray(at, at + PAGE_BYTES));
      return;
    }
    if (at + PAGE_BYTES > this.#bytes) throw new RangeError(`page ${page} is outside ${block} of ${this.#bytes} bytes`);
    if (this.#run.length > 0 && (page !== this.#run_first + this.#run.length || this.#run.length >= RUN_PAGES_MAX))
      this.flush();
    if (this.#run.length === 0) this.#run_first = page;
    this.#run.push(content);
  }

  /** Writes what is still held back, and reads it back. The pages' bytes may be changed by their owner afterwards. */
  flush(): void {
    const run = this.#run;
    if (run.length === 0) return;
    this.#run = [];
    const at = this.#run_first * PAGE_BYTES;
    const length = run.length * PAGE_BYTES;
    if (writevSync(this.#fd, run, at) !== length) throw new UserError("there is no room for the restored memory");
    if (readSync(this.#fd, this.#back, 0, length, at) !== length) throw new UserError("the restored memory is cut off");
    for (let i = 0; i < run.length; i += 1)
      this.#note(this.#file_block, this.#run_first + i, this.#back.subarray(i * PAGE_BYTES, (i + 1) * PAGE_BYTES));
  }

  #note(block: string, page: number, bytes: Buffer): void {
    let laid = this.#laid.get(block);
    if (laid === undefined) {
      laid = new Laid(block);
      this.#laid.set(block, laid);
    }
    laid.note(page, bytes, this.#sum);
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }
}
