import { PAGE_BYTES } from "../../base/page.ts";
import type { PageRun } from "../dirty/pages.ts";
import { AskedPages, type AskedRun } from "./asked-pages.ts";
import { Debt } from "./debt.ts";
import { Pace } from "./pace.ts";
import { type PageAnswer, RUN_PAGES_MAX } from "./page-frames.ts";
import type { PageMap } from "./page-map.ts";

export interface FetcherOptions {
  /** What is there already; the fetcher adds to it. */
  readonly map: PageMap;
  /** From which end of memory the background comes. */
  readonly order: "ascending" | "descending";
  /** Pages that may be asked for and not answered yet in the background. */
  readonly window_pages: number;
  /** Bound of the background, bytes per second; 0 for none. */
  readonly bytes_per_s: number;
  /**
   * Asks again what was not answered for so long. In the background: and nothing else was, or something that was asked for
   * later. What is served in order over a slow link is only late: asked for again it would come twice, and the rest later still.
   */
  readonly retry_ms: number;
  /** The same for what somebody waits for; default `retry_ms`. */
  readonly wanted_retry_ms?: number;
  /** Sends a request to whoever serves now; false where nobody does. */
  readonly ask: (runs: readonly PageRun[], urgent: boolean) => boolean;
  /** Takes pages that were not there before, in order; each page exactly once. */
  readonly deliver: (block: string, first: number, pages: readonly (Uint8Array | null)[]) => void;
  /** Whether the receiver can take no more for the moment. */
  readonly full?: () => boolean;
}

/** Unused allowance of the rate grows no further than this, in seconds. */
const BURST_S = 0.02;
/** Wanted pages in one request. */
const WANTED_PAGES_MAX = 256;

/**
 * Gets pages from whoever has the base: wanted ones at once, the rest behind them within a rate. All account is kept
 * here, none by who answers: so the server may change, die or answer twice, and a page is still delivered exactly once.
 * Has no clock: `tick` is to be called every few milliseconds and after every answer.
 */
export class PageFetcher {
  readonly #options: FetcherOptions;
  readonly #asked: AskedPages;
  readonly #wanted = new Map<string, { readonly block: string; readonly page: number }>();
  readonly #next = new Map<string, number>();
  #allowance = 0;
  readonly #debt = new Debt();
  /** Of its rate that the background takes, 0 to 1. */
  share = 1;
  #ticked_ms: number | null = null;
  #paused = false;
  #yields = false;
  readonly #pace: Pace;
  /** The last tick came so late that it gave nothing of the background up. */
  #looked_late = false;
  urgent_pages = 0;

  constructor(options: FetcherOptions) {
    this.#options = options;
    this.#asked = new AskedPages(options.map.blocks);
    this.#pace = new Pace(options.retry_ms);
  }

  /** Nothing has used the rate for a while: as much as it allows at once may be asked for with the next tick. */
  rested(): void {
    this.#allowance = Number.POSITIVE_INFINITY;
  }

  /** Something that goes before the background used so much of the same rate. */
  spent(bytes: number): void {
    this.#debt.add(bytes, this.#options.bytes_per_s);
  }

  /** No background while it is paused; wanted pages are asked for all the same. */
  set paused(paused: boolean) {
    this.#paused = paused;
  }

  /**
   * Something else comes to the same receiver that goes before the background: of that no more than two runs are under way.
   * Whoever receives takes what has come of a connection, a whole window perhaps, before it looks at the next one.
   */
  set yields(yields: boolean) {
    this.#yields = yields;
  }

  /** Somebody waits for these pages. Those that are there, or nowhere, are left out. */
  want({ block, first, count }: PageRun, now_ms: number): void {
    const { map } = this.#options;
    for (let page = first; page < first + count; page += 1) {
      if (!map.knows(block, page) || map.has(block, page)) continue;
      const key = `${block}:${page}`;
      // Under way in the background it is asked for once more: the answer may be behind a whole window.
      if (this.#asked.of(block, page) === "urgent" || this.#wanted.has(key)) continue;
      this.urgent_pages += 1;
      this.#wanted.set(key, { block, page });
    }
    this.#askWanted(now_ms);
  }

  /** The server changed or came back: everything that was not answered is asked for again. */
  askAgain(): void {
    for (const { block, page } of this.#asked.clear()) this.#wanted.set(`${block}:${page}`, { block, page });
    this.#next.clear();
    this.#pace.forgetOrder();
  }

  /** An answer came in. Pages that are there already are dropped. @throws RangeError for pages that are nowhere. */
  answered({ block, first, pages }: Pick<PageAnswer, "block" | "first" | "pages">): void {
    const { map, deliver } = this.#options;
    // Before any of it is taken: what the map has and nobody was given would be lost for ever.
    if (!map.knows(block, first) || !map.knows(block, first + pages.length - 1))
      throw new RangeError(`pages ${first} to ${first + pages.length - 1} of RAM block ${block} are nowhere`);
    const full_pages = pages.filter((bytes) => bytes !== null).length;
    let run: (Uint8Array | null)[] = [];
    let run_first = first;
    const flush = (): void => {
      if (run.length > 0) deliver(block, run_first, run);
      run = [];
    };
    for (const [i, bytes] of pages.entries()) {
      const page = first + i;
      this.#pace.served(this.#asked.answered(block, page), full_pages, this.#ticked_ms ?? Number.NEGATIVE_INFINITY);
      if (this.#wanted.size > 0) this.#wanted.delete(`${block}:${page}`);
      if (!map.add(block, page)) {
        flush();
        continue;
      }
      if (run.length === 0) run_first = page;
      run.push(bytes);
    }
    flush();
  }

  tick(now_ms: number): void {
    this.#retry(now_ms);
    this.#askWanted(now_ms);
    this.#askBackground(now_ms);
  }

  #retry(now_ms: number): void {
    const { retry_ms, wanted_retry_ms = retry_ms } = this.#options;
    // Who did not look for so long has not read what was answered meanwhile; who never looks in time has to all the same.
    this.#looked_late = !this.#looked_late && now_ms - (this.#ticked_ms ?? now_ms) > retry_ms / 2;
    let silent = false;
    for (const run of this.#asked.runs) {
      const age_ms = now_ms - run.at_ms;
      // In order of asking: the first that is young ends the search.
      if (age_ms < Math.min(retry_ms, wanted_retry_ms)) break;
      if (age_ms < (run.urgent ? wanted_retry_ms : retry_ms)) continue;
      if (!run.urgent && (this.#looked_late || this.#pace.isLate(run, now_ms))) continue;
      silent ||= !run.urgent && !this.#pace.isOvertaken(run);
      for (const page of this.#asked.giveUp(run))
        if (run.urgent) this.#wanted.set(`${run.block}:${page}`, { block: run.block, page });
      if (!run.urgent) this.#next.delete(run.block);
    }
    if (silent) this.#pace.gaveUp(now_ms);
  }

  #askWanted(now_ms: number): void {
    const runs: PageRun[] = [...this.#wanted.values()].map(({ block, page }) => ({ block, first: page, count: 1 }));
    for (let at = 0; at < runs.length; at += WANTED_PAGES_MAX) {
      const part = runs.slice(at, at + WANTED_PAGES_MAX);
      if (!this.#options.ask(part, true)) return;
      for (const { block, first } of part) {
        this.#wanted.delete(`${block}:${first}`);
        this.#asked.ask({ block, first, count: 1 }, now_ms, true);
      }
    }
  }

  #askBackground(now_ms: number): void {
    const { map, window_pages, bytes_per_s, full } = this.#options;
    const passed_ms = now_ms - (this.#ticked_ms ?? now_ms);
    this.#ticked_ms = now_ms;
    if (bytes_per_s > 0) {
      const burst = Math.max(RUN_PAGES_MAX * PAGE_BYTES, bytes_per_s * BURST_S);
      const gained = (passed_ms / 1000) * bytes_per_s * this.share;
      this.#allowance = Math.min(burst, this.#allowance + gained - this.#debt.payOf(gained));
    }
    // Nothing goes before what somebody waits for.
    if (this.#wanted.size > 0 || this.#paused || map.complete || full?.() === true) return;
    const runs: AskedRun[] = [];
    // What somebody waits for comes by the same threads, and into the same stream: one run at a time is in its way.
    const most_runs = this.#asked.urgent_pages > 0 ? 1 : this.#yields ? 2 : Number.POSITIVE_INFINITY;
    const window = Math.min(window_pages, most_runs * RUN_PAGES_MAX);
    for (;;) {
      const room = Math.min(window - this.#asked.background_pages, RUN_PAGES_MAX);
      const most = bytes_per_s > 0 ? Math.min(room, Math.floor(this.#allowance / PAGE_BYTES)) : room;
      // Whole runs, or what is left: many small ones would cost more than they carry.
      if (most < Math.min(RUN_PAGES_MAX, window, map.pages_total - map.count)) break;
      const run = this.#nextRun(most);
      if (run === undefined) break;
      runs.push(this.#asked.ask(run, now_ms, false));
      if (bytes_per_s > 0) this.#allowance -= run.count * PAGE_BYTES;
    }
    if (runs.length === 0 || this.#options.ask(runs, false)) return;
    for (const run of runs) {
      this.#asked.giveUp(run);
      this.#next.delete(run.block);
      this.#allowance += run.count * PAGE_BYTES;
    }
  }

  #nextRun(most: number): PageRun | undefined {
    for (const { name } of this.#options.map.blocks) {
      const run = this.#options.order === "ascending" ? this.#upwards(name, most) : this.#downwards(name, most);
      if (run !== undefined) return run;
    }
    return undefined;
  }

  #isOpen(block: string, page: number): boolean {
    return !this.#options.map.has(block, page) && this.#asked.of(block, page) === undefined;
  }

  #upwards(block: string, most: number): PageRun | undefined {
    const { map } = this.#options;
    let first = map.firstMissing(block, this.#next.get(block) ?? 0);
    while (first >= 0 && !this.#isOpen(block, first)) first = map.firstMissing(block, first + 1);
    if (first < 0) {
      this.#next.set(block, Number.MAX_SAFE_INTEGER);
      return undefined;
    }
    let count = 1;
    while (count < most && map.knows(block, first + count) && this.#isOpen(block, first + count)) count += 1;
    this.#next.set(block, first + count);
    return { block, first, count };
  }

  #downwards(block: string, most: number): PageRun | undefined {
    const { map } = this.#options;
    const from = this.#next.get(block) ?? Number.POSITIVE_INFINITY;
    let last = from < 0 ? -1 : map.lastMissing(block, from);
    while (last >= 0 && !this.#isOpen(block, last)) last = last === 0 ? -1 : map.lastMissing(block, last - 1);
    if (last < 0) {
      this.#next.set(block, -1);
      return undefined;
    }
    let count = 1;
    while (count < most && last - count >= 0 && this.#isOpen(block, last - count)) count += 1;
    this.#next.set(block, last - count);
    return { block, first: last - count + 1, count };
  }
}
