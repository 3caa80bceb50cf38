import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { UserError } from "../../base/errors.ts";
import { PAGE_BYTES } from "../../base/page.ts";
import type { LocatedBlock } from "../../qemu/ram-blocks.ts";
import type { PageRun } from "./pages.ts";
import { ANSWER_MS, type Budget, Pagescan, PagescanError } from "./pagescan.ts";
import { readOwnDescriptor, readShimStatus } from "./shim-status.ts";
import type { Spool } from "./spool.ts";

/** The two ways to find changed pages, with the same answer; `quick` needs the preloaded shim and Linux 6.7. */
export type FindMode = "quick" | "sure";

/** What was found and copied aside while the guest was stopped. Times in ms. */
export interface TakenPages {
  readonly mode: FindMode;
  readonly pages: number;
  /** Of those, the ones that changed since they were last taken. */
  readonly found_pages: number;
  readonly find_ms: number;
  readonly copy_ms: number;
}

/** Sum over a set of pages, whatever their order: two lanes of 32 bits (fixtures/native/pagescan/digest.h). */
export interface Lanes {
  readonly lane1: number;
  readonly lane2: number;
}

/** What came of `arm`. */
export interface Armed {
  readonly mode: FindMode;
  /** Pages that were not tracked before: 0 where a tracker before this one, or QEMU itself, had it begun. */
  readonly pages: number;
  readonly arm_ms: number;
}

export interface CollectedPages {
  readonly spool: Spool;
  readonly zero_pages: number;
  /** Every page that ever changed, as of this transaction: how many, and their digest. */
  readonly modified_pages: number;
  readonly digest: Lanes;
}

/**
 * Finds the pages of a running QEMU that changed, and keeps for every page the number of the transaction in which it
 * last did (PROTOCOL.md, "A transaction is a table of numbers"). Order of use: stop the guest, `take`, let it run,
 * `collect`, read the spool, `release`; the next `take` only then.
 */
export interface DirtyTracker extends AsyncDisposable {
  /** The way in use, and why. */
  readonly mode: FindMode;
  readonly why: string;
  /** The helper is no more: nothing can be done with this tracker. What it knew is in the table, for the next one. */
  readonly gone: boolean;
  /** Called when the way changes by itself. */
  onModeChange: ((mode: FindMode, why: string) => void) | undefined;
  /**
   * Has the kernel note what is written from now on, in any QEMU that was started with the preloaded library: one that
   * was only booted, one that was restored, a target whose migration has completed. First this, then read the base.
   * Where it is tracked already (by another tracker before this one; by QEMU itself, until its migration has completed)
   * that is left as it is. Where the kernel refuses, the way is `sure` from then on, which has to `learn` what the base is
   * read as; a later `arm` may be luckier.
   * @param guest "still": it has not run since the last `take`, and nothing was missed. Else, where a take was made
   *   before, or the memory tracked, and it is not now, every page that is there counts as changed.
   */
  arm(guest?: "running" | "still"): Promise<Armed>;
  /** Ends that: a guest that nobody looks at pays nothing. What was noted and not taken is lost. */
  disarm(): Promise<void>;
  /**
   * While the guest is stopped: finds the changed pages of all RAM blocks, gives them the number n, and copies aside
   * every page whose number is greater than `since`: 0 for all that ever changed. A transaction that comes to nothing
   * has to be told to nobody: what it found is in every later one that begins before it.
   */
  take(n: number, since: number): Promise<TakenPages>;
  /**
   * Which pages changed after transaction `since`; what is found now has the number n. The guest may run, nothing is
   * copied, and a later `take` has it all the same. Needs the quick way.
   * @throws PagescanError "untracked" where the kernel does not say
   */
  look(n: number, since: number): Promise<readonly PageRun[]>;
  /** While the guest runs: the pages that `take` copied. To be called once after every `take`. */
  collect(): Promise<CollectedPages>;
  /** The spool was read, or will not be. */
  release(): Promise<void>;
  /**
   * While the guest runs: gets to know up to `pages_max` pages that arrived, so that a fall-back to the sure way need
   * not send them. Returns how many it read; 0 when there is nothing to do.
   */
  absorb(pages_max: number): Promise<number>;
  /** What arrived is what the base has: so the sure way need not send it. */
  learn(block: string, first_page: number, content: Uint8Array): Promise<void>;
  /** Pages that are there. Touches none. */
  present(block: string): Promise<readonly PageRun[]>;
}

export interface TrackerOptions {
  /** Path of the native helper. */
  readonly pagescan: string;
  readonly pid: number;
  readonly blocks: readonly LocatedBlock[];
  /** `auto` begins with the quick way and changes to the sure way when the kernel says it does not track. */
  readonly prefer?: "auto" | "sure";
  /**
   * Folder on a tmpfs that lives as long as that process: for the modified table, which a later tracker of the same
   * process goes on with, and for the spool. Without it nothing can be taken; pages can be looked at.
   */
  readonly folder?: string;
  /** Status file of the preloaded library: lets `why` say more than "not permitted". */
  readonly shim_status_path?: string;
  /** Threads of the sure way; the quick way uses two for blocks of `long_pages` pages or more. */
  readonly threads?: number;
  readonly long_pages?: number;
  /** Somebody waits for it while a guest stands still: it goes before everything else, as far as it may. */
  readonly first?: boolean;
}

/**
 * Of the helper, and of each thread that it has, where it goes first. What others do not use of theirs may be used. A guest
 * that is heard often has a transaction every 40 ms, each of which costs a millisecond for every GiB to find what changed:
 * whoever has used its budget up waits for the next period, and the guest stands still for it.
 */
const FIRST_BUDGET: Budget = { runtime_us: 20_000, period_us: 100_000 };

/**
 * What a request that goes through all of memory may take more than others, for each page that it may have to copy: 3 to 6 µs
 * were seen, and ten times that on a busy machine.
 */
const ANSWER_US_PER_PAGE = 60;

function spoolPaths(folder: string): Pick<Spool, "content_path" | "entries_path"> {
  const content_path = join(folder, "spool");
  return { content_path, entries_path: `${content_path}.pages` };
}

/** @throws UserError when the helper cannot look at that process. */
export async function openTracker(options: TrackerOptions): Promise<PagescanTracker> {
  const scan = Pagescan.start(options.pagescan);
  try {
    await scan.request(`attach ${options.pid}`);
    const { threads, long_pages } = options;
    if (threads !== undefined || long_pages !== undefined)
      await scan.request(`threads ${threads ?? 2} ${long_pages ?? ""}`.trimEnd());
    for (const [id, { name, bytes, where }] of options.blocks.entries()) {
      const place =
        where.kind === "file" ? `file ${where.path}` : `memory ${where.address.toString(16)} ${bytes.toString(16)}`;
      const { fields } = await scan.request(`block ${id} ${crc32(name)} ${place}`);
      if (fields["pages"] !== bytes / PAGE_BYTES) {
        throw new UserError(`RAM block ${name} has ${bytes} bytes, but ${fields["pages"]} pages were found`);
      }
    }
    if (options.first === true) await scan.request(`first ${FIRST_BUDGET.runtime_us} ${FIRST_BUDGET.period_us}`);
    const folder = options.folder;
    let last = 0;
    if (folder !== undefined) {
      last = (await scan.request(`modified ${join(folder, "modified")}`)).fields["last"] ?? 0;
      await scan.request(`spool ${spoolPaths(folder).content_path}`);
    }
    return new PagescanTracker(scan, options, last);
  } catch (error) {
    await scan[Symbol.asyncDispose]();
    if (error instanceof PagescanError) throw new UserError(`cannot look at QEMU's memory: ${error.message}`);
    throw error;
  }
}

export const DYING_POINTS = ["began", "read", "marking", "marked", "copied", "settling"] as const;
export type DyingPoint = (typeof DYING_POINTS)[number];

export class PagescanTracker implements DirtyTracker {
  readonly #scan: Pagescan;
  readonly #blocks: readonly LocatedBlock[];
  readonly #names: readonly string[];
  readonly #shim_status_path: string | undefined;
  readonly #pid: number;
  readonly #prefer: "auto" | "sure";
  #mode: FindMode;
  readonly #folder: string | undefined;
  #why: string;
  #held = false;
  onModeChange: ((mode: FindMode, why: string) => void) | undefined;

  /** The greatest number that a page had when this tracker was opened. */
  readonly last: number;

  constructor(scan: Pagescan, options: TrackerOptions, last = 0) {
    this.last = last;
    this.#scan = scan;
    this.#blocks = options.blocks;
    this.#names = options.blocks.map((block) => block.name);
    this.#shim_status_path = options.shim_status_path;
    this.#pid = options.pid;
    this.#prefer = options.prefer ?? "auto";
    this.#mode = options.prefer === "sure" ? "sure" : "quick";
    this.#why = options.prefer === "sure" ? "asked for" : "not refused so far";
    this.#folder = options.folder;
  }

  #throughAll(line: string): ReturnType<Pagescan["request"]> {
    const pages = this.#blocks.reduce((sum, { bytes }) => sum + bytes / PAGE_BYTES, 0);
    return this.#scan.request(line, undefined, ANSWER_MS + (pages * ANSWER_US_PER_PAGE) / 1000);
  }

  get mode(): FindMode {
    return this.#mode;
  }

  get why(): string {
    return this.#why;
  }

  get gone(): boolean {
    return this.#scan.gone;
  }

  /** Names of the blocks that are in no file. */
  get small_blocks(): readonly string[] {
    return this.#blocks.filter(({ where }) => where.kind === "process").map(({ name }) => name);
  }

  async arm(guest: "running" | "still" = "running"): Promise<Armed> {
    if (this.#prefer === "sure") return { mode: "sure", pages: 0, arm_ms: 0 };
    try {
      const { fields } = await this.#scan.request(`arm ${await this.#descriptor()} ${guest}`);
      if (this.#mode === "sure") this.#change("quick", "tracked from outside");
      this.#why = "tracked from outside";
      return { mode: "quick", pages: fields["pages"] ?? 0, arm_ms: (fields["took_us"] ?? 0) / 1000 };
    } catch (error) {
      if (!(error instanceof PagescanError) || error.reason !== "untracked") throw error;
      this.#change("sure", error.message);
      return { mode: "sure", pages: 0, arm_ms: 0 };
    }
  }

  async disarm(): Promise<void> {
    await this.#scan.request(`disarm ${await this.#descriptor()}`);
  }

  async #descriptor(): Promise<number> {
    const path = this.#shim_status_path;
    const text = path === undefined ? undefined : await readFile(path, "utf8").catch(() => undefined);
    const own = readOwnDescriptor(text, this.#pid);
    if (typeof own === "string") throw new PagescanError("untracked", own);
    return own;
  }

  async take(n: number, since: number): Promise<TakenPages> {
    // Whoever still reads the spool would get pages of two transactions.
    if (this.#held) throw new PagescanError("usage", "the transaction before was not released");
    this.#held = true;
    try {
      return await this.#take(n, since);
    } catch (error) {
      this.#held = false;
      throw error;
    }
  }

  async #take(n: number, since: number): Promise<TakenPages> {
    if (this.#mode === "sure") return await this.#takeBy("sure", n, since);
    const began_ms = performance.now();
    try {
      return await this.#takeBy("quick", n, since);
    } catch (error) {
      if (!(error instanceof PagescanError) || error.reason !== "untracked") throw error;
      // The kernel may have forgotten some notes in the failed look. What pagescan knows by digest still holds.
      await this.#fallBack(error.message);
      const lost_ms = performance.now() - began_ms;
      const taken = await this.#takeBy("sure", n, since);
      return { ...taken, find_ms: taken.find_ms + lost_ms };
    }
  }

  async #takeBy(mode: FindMode, n: number, since: number): Promise<TakenPages> {
    const { fields } = await this.#throughAll(`take ${mode} ${n} ${since}`);
    const { pages = 0, found = 0, find_us = 0, copy_us = 0 } = fields;
    return { mode, pages, found_pages: found, find_ms: find_us / 1000, copy_ms: copy_us / 1000 };
  }

  async #fallBack(message: string): Promise<void> {
    const path = this.#shim_status_path;
    const status = path === undefined ? undefined : readShimStatus(await readFile(path, "utf8").catch(() => undefined));
    this.#change("sure", status?.tracking === false ? `${message} (${status.why})` : message);
  }

  #change(mode: FindMode, why: string): void {
    this.#mode = mode;
    this.#why = why;
    this.onModeChange?.(mode, why);
  }

  async look(n: number, since: number): Promise<readonly PageRun[]> {
    return this.#runs((await this.#throughAll(`look ${n} ${since}`)).binary);
  }

  async collect(): Promise<CollectedPages> {
    const { fields } = await this.#throughAll("settle");
    const { pages = 0, full = 0, zero = 0, modified = 0, digest1 = 0, digest2 = 0 } = fields;
    return {
      spool: { ...spoolPaths(this.#folder ?? ""), pages, full_pages: full, blocks: this.#names },
      zero_pages: zero,
      modified_pages: modified,
      digest: { lane1: digest1, lane2: digest2 },
    };
  }

  async release(): Promise<void> {
    if (!this.#held) return;
    await this.#scan.request("release");
    this.#held = false;
  }

  async absorb(pages_max: number): Promise<number> {
    if (this.#mode !== "quick") return 0;
    return (await this.#scan.request(`absorb ${pages_max}`)).fields["pages"] ?? 0;
  }

  async learn(block: string, first_page: number, content: Uint8Array): Promise<void> {
    const pages = content.length / PAGE_BYTES;
    if (!Number.isInteger(pages)) throw new RangeError(`${content.length} bytes are no whole pages`);
    await this.#scan.request(`learn ${this.#idOf(block)} ${first_page} ${pages}`, content);
  }

  async present(block: string): Promise<readonly PageRun[]> {
    return this.#runs((await this.#scan.request(`present ${this.#idOf(block)}`)).binary);
  }

  /** Which pages one way finds now, changing nothing: to compare the two ways. The guest has to be stopped. */
  async find(mode: FindMode): Promise<{ readonly runs: readonly PageRun[]; readonly find_ms: number }> {
    const { fields, binary } = await this.#throughAll(`find ${mode}`);
    return { runs: this.#runs(binary), find_ms: (fields["find_us"] ?? 0) / 1000 };
  }

  /** Takes what the quick way finds and throws it away: what must never happen, for tests that show that it is seen. */
  async discard(): Promise<void> {
    await this.#scan.request("discard");
  }

  /** The helper ends itself by SIGKILL when it reaches a point of a transaction (fixtures/native/pagescan/die.h): for tests. */
  async dieAt(point: DyingPoint): Promise<void> {
    await this.#scan.request(`die ${point}`);
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

  /** The table stays, for the next tracker of that process; what lies in the spool is nobody's any more. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#scan[Symbol.asyncDispose]();
    if (this.#folder === undefined) return;
    const { content_path, entries_path } = spoolPaths(this.#folder);
    await Promise.all([content_path, entries_path].map((path) => rm(path, { force: true })));
  }
}
