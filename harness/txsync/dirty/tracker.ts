import { readFile } from "node:fs/promises";
import { UserError } from "../../base/errors.ts";
import { PAGE_BYTES } from "../../base/page.ts";
import type { LocatedBlock } from "../../qemu/ram-blocks.ts";
import { type PageRun, PageSet } from "./pages.ts";
import { Pagescan, PagescanError } from "./pagescan.ts";
import { readShimStatus } from "./shim-status.ts";

/** The two ways to find changed pages, with the same answer; `quick` needs the preloaded shim and Linux 6.7. */
export type FindMode = "quick" | "sure";

/** What was found and copied aside while the guest was stopped. Times in ms. */
export interface TakenPages {
  readonly mode: FindMode;
  /** Candidates: pages whose content turns out to be what the log has are left out by `collect`. */
  readonly pages: number;
  readonly find_ms: number;
  readonly copy_ms: number;
}

export interface CollectedPages {
  readonly pages: PageSet;
  /** Pages that were written but hold what the log has already. */
  readonly same_pages: number;
}

/**
 * Finds the pages of a running QEMU that differ from what the log says (DESIGN.md, "Taking a transaction").
 * Order of use: stop the guest, `take`, let it run, `collect`.
 */
export interface DirtyTracker extends AsyncDisposable {
  /** The way in use, and why. */
  readonly mode: FindMode;
  readonly why: string;
  /** Called when the way changes by itself. */
  onModeChange: ((mode: FindMode, why: string) => void) | undefined;
  /** While the guest is stopped: finds the changed pages of all RAM blocks and copies them aside. */
  take(): Promise<TakenPages>;
  /** While the guest runs: the pages that `take` copied. To be called once after every `take`. */
  collect(): Promise<CollectedPages>;
  /**
   * While the guest runs: gets to know up to `pages_max` pages that arrived, so that a fall-back to the sure way need
   * not send them. Returns how many it read; 0 when there is nothing to do.
   */
  absorb(pages_max: number): Promise<number>;
  /** The log has these pages with this content: as the relayed stream brought them. */
  learn(block: string, first_page: number, content: Uint8Array): Promise<void>;
  /** A transaction that was taken is lost: the next one holds every page that is there. */
  forget(): Promise<void>;
  /** Pages that are there. Touches none. */
  present(block: string): Promise<readonly PageRun[]>;
}

export interface TrackerOptions {
  /** Path of the native helper. */
  readonly pagescan: string;
  readonly pid: number;
  readonly blocks: readonly LocatedBlock[];
  /** `auto` begins with the quick way and changes to the sure way, for good, when the kernel says it does not track. */
  readonly prefer?: "auto" | "sure";
  /** Somebody else has taken transactions from this QEMU before: then the first one holds every page that is there. */
  readonly taken_before?: boolean;
  /** Status file of the preloaded library: lets `why` say more than "not permitted". */
  readonly shim_status_path?: string;
  /** Threads of the sure way. */
  readonly threads?: number;
}

/** @throws UserError when the helper cannot look at that process. */
export async function openTracker(options: TrackerOptions): Promise<PagescanTracker> {
  const scan = Pagescan.start(options.pagescan);
  try {
    await scan.request(`attach ${options.pid}`);
    if (options.threads !== undefined) await scan.request(`threads ${options.threads}`);
    for (const [id, { name, bytes, where }] of options.blocks.entries()) {
      const place =
        where.kind === "file" ? `file ${where.path}` : `memory ${where.address.toString(16)} ${bytes.toString(16)}`;
      const { fields } = await scan.request(`block ${id} ${place}`);
      if (fields["pages"] !== bytes / PAGE_BYTES) {
        throw new UserError(`RAM block ${name} has ${bytes} bytes, but ${fields["pages"]} pages were found`);
      }
    }
    return new PagescanTracker(scan, options);
  } catch (error) {
    await scan[Symbol.asyncDispose]();
    if (error instanceof PagescanError) throw new UserError(`cannot look at QEMU's memory: ${error.message}`);
    throw error;
  }
}

export class PagescanTracker implements DirtyTracker {
  readonly #scan: Pagescan;
  readonly #blocks: readonly LocatedBlock[];
  readonly #names: readonly string[];
  readonly #shim_status_path: string | undefined;
  #mode: FindMode;
  #why: string;
  /** The next transaction has to hold every page that is there. */
  #everything: boolean;
  onModeChange: ((mode: FindMode, why: string) => void) | undefined;

  constructor(scan: Pagescan, options: TrackerOptions) {
    this.#scan = scan;
    this.#blocks = options.blocks;
    this.#names = options.blocks.map((block) => block.name);
    this.#shim_status_path = options.shim_status_path;
    this.#mode = options.prefer === "sure" ? "sure" : "quick";
    this.#why = options.prefer === "sure" ? "asked for" : "not refused so far";
    this.#everything = options.taken_before ?? false;
  }

  get mode(): FindMode {
    return this.#mode;
  }

  get why(): string {
    return this.#why;
  }

  /** Names of the blocks that are in no file. */
  get small_blocks(): readonly string[] {
    return this.#blocks.filter(({ where }) => where.kind === "process").map(({ name }) => name);
  }

  async take(): Promise<TakenPages> {
    let lost_ms = 0;
    if (this.#mode === "quick") {
      const began_ms = performance.now();
      try {
        const taken = await this.#takeBy("quick", "quick");
        if (!this.#everything) return taken;
        // The kernel's notes begin here; what it said before was told to somebody else.
        lost_ms = performance.now() - began_ms;
      } catch (error) {
        if (!(error instanceof PagescanError) || error.reason === "gone") throw error;
        // The kernel may have forgotten some notes in the failed look. What pagescan knows by digest still holds.
        await this.#fallBack(error.message);
        lost_ms = performance.now() - began_ms;
      }
    }
    const taken = await this.#takeBy(this.#everything ? "all" : "sure", this.#mode);
    return { ...taken, find_ms: taken.find_ms + lost_ms };
  }

  async #takeBy(request: "quick" | "sure" | "all", mode: FindMode): Promise<TakenPages> {
    const { fields } = await this.#scan.request(`take ${request}`);
    const { pages = 0, find_us = 0, copy_us = 0 } = fields;
    return { mode, pages, find_ms: find_us / 1000, copy_ms: copy_us / 1000 };
  }

  async #fallBack(message: string): Promise<void> {
    const path = this.#shim_status_path;
    const status = path === undefined ? undefined : readShimStatus(await readFile(path, "utf8").catch(() => undefined));
    this.#mode = "sure";
    this.#why = status?.tracking === false ? `${message} (${status.why})` : message;
    this.onModeChange?.("sure", this.#why);
  }

  async collect(): Promise<CollectedPages> {
    const { fields, binary } = await this.#scan.request("fetch");
    this.#everything = false;
    const entries_bytes = (fields["pages"] ?? 0) * 8;
    const pages = new PageSet(this.#names, binary.subarray(0, entries_bytes), binary.subarray(entries_bytes));
    return { pages, same_pages: fields["same"] ?? 0 };
  }

  async absorb(pages_max: number): Promise<number> {
    if (this.#mode !== "quick" || this.#everything) return 0;
    return (await this.#scan.request(`absorb ${pages_max}`)).fields["pages"] ?? 0;
  }

  async learn(block: string, first_page: number, content: Uint8Array): Promise<void> {
    const pages = content.length / PAGE_BYTES;
    if (!Number.isInteger(pages)) throw new RangeError(`${content.length} bytes are no whole pages`);
    await this.#scan.request(`learn ${this.#idOf(block)} ${first_page} ${pages}`, content);
  }

  async forget(): Promise<void> {
    this.#everything = true;
    await this.#scan.request("forget");
  }

  async present(block: string): Promise<readonly PageRun[]> {
    return this.#runs((await this.#scan.request(`present ${this.#idOf(block)}`)).binary);
  }

  /** Which pages one way finds now, changing nothing: to compare the two ways. The guest has to be stopped. */
  async find(mode: FindMode): Promise<{ readonly runs: readonly PageRun[]; readonly find_ms: number }> {
    const { fields, binary } = await this.#scan.request(`find ${mode}`);
    return { runs: this.#runs(binary), find_ms: (fields["find_us"] ?? 0) / 1000 };
  }

  /** Takes what the quick way finds and throws it away: what must never happen, for tests that show that it is seen. */
  async discard(): Promise<void> {
    await this.#scan.request("take quick");
  }

  #idOf(block: string): number {
    const id = this.#blocks.findIndex(({ name }) => name === block);
    if (id < 0) throw new RangeError(`no RAM block ${block}`);
    return id;
  }

  #runs(binary: Buffer): PageRun[] {
    const runs: PageRun[] = [];
    for (let at = 0; at + 12 <= binary.length; at += 12) {
      const [id, first, count] = [binary.readUInt32LE(at), binary.readUInt32LE(at + 4), binary.readUInt32LE(at + 8)];
      runs.push({ block: this.#names[id] ?? "", first, count });
    }
    return runs;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#scan[Symbol.asyncDispose]();
  }
}
