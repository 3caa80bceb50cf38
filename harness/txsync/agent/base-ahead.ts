import { hash, randomBytes } from "node:crypto";
import { type FileHandle, open } from "node:fs/promises";
import { setImmediate } from "node:timers/promises";
import { RAM_BLOCK } from "../../qemu/command-line.ts";
import { PAGE_BYTES, type PageRun } from "../dirty/pages.ts";
import type { BlockSize } from "../pages/page-map.ts";
import { BasePages } from "../pages/page-source.ts";

/** By block, pages in a row: first, count. */
export type ChangedRuns = Record<string, [number, number][]>;

const RUN_PAGES = 64;
const DIGEST_BYTES = 20;
/** What has been sent of a page: nothing, one content, or more than one. */
const [NEVER, ONCE, UNCLEAR] = [0, 1, 2] as const;
const ZEROS = Buffer.alloc(PAGE_BYTES);

/**
 * The base before it is one: pages of a guest that still runs, copied ahead. What was sent is remembered by digest
 * (SHA-1: a guest would have to work hard to change a page without changing that), so that it is known afterwards what
 * has to be sent again. Only main RAM: the small blocks are read when the guest stands still.
 */
export class BaseAhead {
  readonly base = randomBytes(8).toString("hex");
  readonly blocks: readonly BlockSize[];
  readonly #file: FileHandle;
  readonly #pages: BasePages;
  readonly #digests: Buffer;
  readonly #sent: Uint8Array;
  #serving = new Set<Promise<void>>();
  #stopped = false;

  private constructor(blocks: readonly BlockSize[], file: FileHandle) {
    this.blocks = blocks;
    this.#file = file;
    const bytes = blocks.find(({ name }) => name === RAM_BLOCK)?.bytes ?? 0;
    this.#pages = new BasePages(RAM_BLOCK, file, bytes, []);
    this.#digests = Buffer.alloc((bytes / PAGE_BYTES) * DIGEST_BYTES);
    this.#sent = new Uint8Array(bytes / PAGE_BYTES);
  }

  static async open(ram_path: string, blocks: readonly BlockSize[]): Promise<BaseAhead> {
    return new BaseAhead(blocks, await open(ram_path, "r"));
  }

  /** Sends pages of the running guest, each as it was read. */
  async serve(
    runs: readonly PageRun[],
    send: (block: string, first: number, pages: readonly (Uint8Array | null)[]) => void,
  ): Promise<void> {
    const served = this.#serve(runs, send);
    this.#serving.add(served);
    try {
      await served;
    } finally {
      this.#serving.delete(served);
    }
  }

  async #serve(
    runs: readonly PageRun[],
    send: (block: string, first: number, pages: readonly (Uint8Array | null)[]) => void,
  ): Promise<void> {
    for (const run of runs) {
      if (this.#stopped || run.block !== RAM_BLOCK) continue;
      const pages = await this.#pages.read(run);
      const whole: (Uint8Array | null)[] = [];
      for (const [i, bytes] of pages.entries()) {
        if (bytes === undefined) break;
        this.#note(run.first + i, digest(bytes));
        whole.push(bytes);
      }
      if (whole.length > 0) send(run.block, run.first, whole);
    }
  }

  /** A page that was asked for twice: who asked keeps whichever came first, so with two contents nothing is known. */
  #note(page: number, now: Buffer): void {
    const at = page * DIGEST_BYTES;
    const before = this.#sent[page];
    if (before === ONCE && now.compare(this.#digests, at, at + DIGEST_BYTES) !== 0) this.#sent[page] = UNCLEAR;
    if (before !== NEVER) return;
    now.copy(this.#digests, at);
    this.#sent[page] = ONCE;
  }

  /** Nothing more is sent; when this returns everything that was read has been. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#serving);
    await this.#file.close();
  }

  /** Pages that were sent and are not what they were, in a guest that stands still, whose memory is in this file. */
  async changed(path: string): Promise<ChangedRuns> {
    await using file = await open(path, "r");
    const runs: [number, number][] = [];
    const pages = new BasePages(RAM_BLOCK, file, this.#sent.length * PAGE_BYTES, []);
    for (let first = 0; first < this.#sent.length; first += RUN_PAGES) {
      const count = Math.min(RUN_PAGES, this.#sent.length - first);
      if (this.#sent.subarray(first, first + count).every((sent) => sent === NEVER)) continue;
      const contents = await pages.read({ block: RAM_BLOCK, first, count });
      for (const [i, bytes] of contents.entries()) {
        const page = first + i;
        if (this.#sent[page] === NEVER) continue;
        const at = page * DIGEST_BYTES;
        // What cannot be read is not known to be the same.
        const same = bytes !== undefined && digest(bytes).compare(this.#digests, at, at + DIGEST_BYTES) === 0;
        if (this.#sent[page] === ONCE && same) continue;
        const last = runs.at(-1);
        if (last !== undefined && last[0] + last[1] === page) last[1] += 1;
        else runs.push([page, 1]);
      }
      await setImmediate();
    }
    return { [RAM_BLOCK]: runs };
  }
}

function digest(bytes: Uint8Array | null): Buffer {
  return hash("sha1", bytes ?? ZEROS, "buffer");
}
