import { linkSync, rmSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "../../base/errors.ts";
import { PAGE_BYTES } from "../../base/page.ts";
import { waitFor } from "../../base/wait.ts";
import { RAM_BLOCK } from "../../qemu/command-line.ts";
import type { PageRoute, Role } from "../core/index.ts";
import { PageFetcher } from "../pages/fetcher.ts";
import type { Note } from "../pages/notes.ts";
import { decodePages, encodeRequest, type PageRequest } from "../pages/page-frames.ts";
import { PageMap } from "../pages/page-map.ts";
import type { RecordPiece } from "../pages/record-frames.ts";
import { pagesIn, TargetFeed } from "../relay/feed.ts";
import { BaseCopy } from "./base-copy.ts";
import { type DataShell, sendTargetPages } from "./data-shell.ts";
import type { Package } from "./kept-package.ts";
import { LogReader } from "./log-reader.ts";
import type { BaseOf, RestoredMemory } from "./protocol.ts";
import { RamImage } from "./ram-image.ts";

type BaseHeld = Extract<Note, { kind: "base-held" }>;

const SHARE_UNTIL_COVERED = 0.5;
const TICK_MS = 2;
/** What is under way at a time: enough for the way there and back where a processor is shared by three agents. */
const WINDOW_PAGES = 256;
const RETRY_MS = 150;
/** A source that sends nothing for so long is not the only one to be asked for what a vCPU waits for. */
const SILENT_MS = 40;
const ALL_PAGES_PING = 0x4645_7272;
const LOADED_PING = 0x4645_7273;
const PROGRESS_EVERY_MS = 20;

/** The target's part: feeds QEMU the stream, gets it its pages; and, on any host, gets the base to restore a VM from. */
export class TargetStore {
  readonly #shell: DataShell;
  #package: Package | undefined;
  #map: PageMap | undefined;
  #fetcher: PageFetcher | undefined;
  #feed: TargetFeed | undefined;
  #ticking: NodeJS.Timeout | undefined;
  #route: PageRoute = "direct";
  #source_heard_ms = 0;
  #asked_all = false;
  #ended = false;
  #told_ms = 0;
  #covered = false;
  #held: BaseHeld | undefined;
  #tell_arrived = false;
  #fetching: { readonly base: string; readonly copy: BaseCopy } | undefined;
  #reader: LogReader | undefined;
  #restoring: Promise<unknown> = Promise.resolve();
  /** Counts restores, begun and given up. */
  #turn = 0;

  constructor(shell: DataShell) {
    this.#shell = shell;
  }

  // ---- the stream

  async load(path: string, what: Package, hold: boolean): Promise<void> {
    this.#package = what;
    const feed = await this.#connect(path, what);
    this.#begin(feed, new PageMap(what.blocks));
    feed.write(what.preamble);
    feed.write(what.packaged);
    if (hold) feed.ping(LOADED_PING);
  }

  async recover(path: string, what: Package): Promise<{ readonly count: number; readonly total: number }> {
    this.#package = what;
    const feed = await this.#connect(path, what);
    const received = await feed.recover();
    const map = new PageMap(what.blocks);
    for (const [block, bitmap] of received) {
      for (const page of pagesIn(bitmap)) if (map.knows(block, page)) map.add(block, page);
    }
    this.#begin(feed, map);
    return { count: map.count, total: map.pages_total };
  }

  async #connect(path: string, what: Package): Promise<TargetFeed> {
    const feed: TargetFeed = await TargetFeed.connect(path, {
      ram_section_id: what.ram_section_id,
      blocks: what.blocks,
      onPong: (value) => {
        if (value === ALL_PAGES_PING) this.#shell.tell({ kind: "all-pages" });
        // Held still it never says that it runs.
        if (value === LOADED_PING) this.#shell.tell({ kind: "loaded" });
      },
      onClosed: (why) => {
        if (this.#feed === feed && !this.#ended) this.#shell.tell({ kind: "feed-closed", why });
      },
    });
    return feed;
  }

  #begin(feed: TargetFeed, map: PageMap): void {
    this.#feed = feed;
    this.#map = map;
    this.#asked_all = false;
    this.#ended = false;
    this.#source_heard_ms = performance.now();
    const fetcher = new PageFetcher({
      map,
      order: "ascending",
      window_pages: WINDOW_PAGES,
      bytes_per_s: this.#package?.bytes_per_s ?? 0,
      retry_ms: RETRY_MS,
      wanted_retry_ms: SILENT_MS,
      ask: (runs, urgent) => this.#ask(runs, urgent),
      deliver: (block, first, pages) => {
        feed.writePages(pages.map((bytes, i) => ({ block, page: first + i, bytes })));
        if (this.#tell_arrived) this.#arrived(block, first, pages);
      },
      full: () => feed.full,
    });
    this.#fetcher = fetcher;
    this.#setShare();
    feed.onRequest = (run) => fetcher.want(run, performance.now());
    clearInterval(this.#ticking);
    this.#ticking = setInterval(() => this.#tick(), TICK_MS);
  }

  /** The sure way of finding changed pages has to know what the log has: the base, as it came. */
  #arrived(block: string, first: number, pages: readonly (Uint8Array | null)[]): void {
    const content = Buffer.concat(pages.map((bytes) => bytes ?? Buffer.alloc(PAGE_BYTES)));
    this.#shell.tell({ kind: "arrived", block, first, content });
  }

  tellArrived(on: boolean): void {
    this.#tell_arrived = on;
  }

  #ask(runs: PageRequest["runs"], urgent: boolean): boolean {
    const route = this.#route;
    const base = this.#package?.base;
    if (route === "none" || base === undefined) return false;
    const { peers } = this.#shell;
    const silent = route === "direct" && performance.now() - this.#source_heard_ms > SILENT_MS;
    // Nothing is decided yet, but a vCPU waits. Whoever of the two answers, it is the same page.
    if (urgent && silent) sendTargetPages(peers, "escrow", [encodeRequest({ by: "target", of: "escrow", base, runs })]);
    const to: Role = route === "direct" ? "source" : "escrow";
    const of: Role = route === "escrow" ? "escrow" : "source";
    return sendTargetPages(peers, to, [encodeRequest({ by: "target", of, base, runs })]);
  }

  #tick(): void {
    const now_ms = performance.now();
    this.#fetcher?.tick(now_ms);
    const map = this.#map;
    if (map === undefined) return;
    if (now_ms - this.#told_ms >= PROGRESS_EVERY_MS || (map.complete && !this.#asked_all)) {
      this.#told_ms = now_ms;
      this.#tellProgress(map);
      this.#tellCovered(map);
    }
    if (map.complete && !this.#asked_all) {
      this.#asked_all = true;
      // Answered when QEMU has read, and placed, every page before it.
      this.#feed?.ping(ALL_PAGES_PING);
      clearInterval(this.#ticking);
      this.#shell.emit({ kind: "migration.step", step: "completing" });
    }
  }

  #tellProgress(map: PageMap): void {
    this.#shell.emit({
      kind: "migration.progress",
      transferred_bytes: map.count * PAGE_BYTES,
      remaining_bytes: (map.pages_total - map.count) * PAGE_BYTES,
      total_bytes: map.pages_total * PAGE_BYTES,
      pages_arrived: map.count,
      pages_total: map.pages_total,
      pages_requested: this.#fetcher?.urgent_pages ?? 0,
    });
  }

  endFeed(): void {
    this.#ended = true;
    this.#feed?.end();
  }

  /** The VM here is not ours to feed any more. */
  stopFeed(): void {
    clearInterval(this.#ticking);
    const feed = this.#feed;
    this.#feed = undefined;
    this.#fetcher = undefined;
    feed?.[Symbol.dispose]();
  }

  // ---- pages

  pagesCame(from: Role, payload: Buffer): void {
    const answer = decodePages(payload);
    const fetching = this.#fetching;
    if (fetching !== undefined) {
      if (answer.base === fetching.base && !fetching.copy.complete) fetching.copy.answered(answer);
      return;
    }
    if (answer.base !== this.#package?.base) return;
    if (from === "source") this.#source_heard_ms = performance.now();
    this.#fetcher?.answered(answer);
    this.#fetcher?.tick(performance.now());
  }

  setRoute(route: PageRoute): void {
    this.#route = route;
    this.#fetcher?.askAgain();
    const left = this.#map === undefined ? 0 : this.#map.pages_total - this.#map.count;
    if (route === "escrow") this.#shell.emit({ kind: "takeover", server: "escrow", pages_left: left });
    if (route === "none" && left > 0) {
      const text = `${left} pages are missing here, and nobody who is heard has them: the guest waits`;
      this.#shell.emit({ kind: "run.note", text });
    }
  }

  baseHeld(held: BaseHeld): void {
    this.#held = held;
    if (this.#map !== undefined) this.#tellCovered(this.#map);
  }

  /** Base in escrow and target together: every page that is missing here is there. */
  #tellCovered(map: PageMap): void {
    const held = this.#held;
    const known = held !== undefined && held.base === this.#package?.base;
    const covered =
      map.complete ||
      (known &&
        map.blocks.every(({ name }) => {
          const first = map.firstMissing(name);
          return first < 0 || (held.complete ? true : first >= (held.from[name] ?? Number.POSITIVE_INFINITY));
        }));
    if (covered === this.#covered) return;
    this.#covered = covered;
    this.#setShare();
    this.#shell.tell({ kind: "covered", covered });
  }

  /** Until the base would survive the source's host the push leaves room for the escrow's copy: that is the danger. */
  #setShare(): void {
    if (this.#fetcher !== undefined) this.#fetcher.share = this.#covered ? 1 : SHARE_UNTIL_COVERED;
  }

  // ---- a restore here, of the escrow's copy of the base

  refused(question: number, why: string): void {
    this.#reader?.refused(question, why);
  }

  pieceCame(piece: RecordPiece): void {
    this.#reader?.pieceCame(piece);
  }

  /**
   * All of the base from the escrow into a file that becomes the RAM file, then the log over it. Waits as long as pages
   * come: how long that takes is a matter of the guest's size.
   */
  restore(base: BaseOf, n: number): Promise<RestoredMemory> {
    this.abortRestore();
    // The one that was given up lets go of its file first, which has the same name.
    const turn = this.#turn;
    const restored = this.#restoring.then(() => {
      if (turn !== this.#turn) throw new UserError("it is not wanted any more");
      return this.#restore(base, n);
    });
    this.#restoring = restored.catch(() => undefined);
    return restored;
  }

  async #restore({ base, blocks }: BaseOf, n: number): Promise<RestoredMemory> {
    const { config, peers } = this.#shell;
    const most_silent_ms = config.lease_ms * 10;
    let moved_ms = performance.now();
    const began_ms = moved_ms;
    const copy = BaseCopy.begin({
      path: join(config.memory_folder, "base-fetched"),
      blocks,
      ask: (runs) => peers.sendData("escrow", "bulk", [encodeRequest({ by: config.role, of: "escrow", base, runs })]),
      onProgress: () => {
        moved_ms = performance.now();
      },
    });
    const fetching = { base, copy };
    this.#fetching = fetching;
    try {
      await waitFor({ what: "the base from the escrow", timeout_ms: 24 * 3_600_000, interval_ms: 2 }, () => {
        if (this.#fetching !== fetching) throw new UserError("it is not wanted any more");
        if (copy.complete) return true;
        if (performance.now() - moved_ms > most_silent_ms)
          throw new UserError(`the escrow sent no more of the base for ${most_silent_ms} ms`);
        return undefined;
      });
      const text = `the base came from the escrow in ${Math.round(performance.now() - began_ms)} ms: what it costs to restore where it is not`;
      this.#shell.emit({ kind: "run.note", text });
      rmSync(config.ram_path, { force: true });
      linkSync(copy.path, config.ram_path);
      using image = RamImage.open(config.ram_path, RAM_BLOCK, blocks, copy.small);
      const reader = new LogReader(this.#shell, image, base);
      this.#reader = reader;
      const laid = await reader.layOver(n, most_silent_ms);
      const { device_state, mark, acked, frames, pages, modified_pages, digest } = laid;
      const { small } = image;
      return { device_state, small, mark, acked, frames, pages, modified_pages, digest };
    } finally {
      if (this.#fetching === fetching) this.#fetching = undefined;
      this.#reader = undefined;
      copy.close();
    }
  }

  abortRestore(): void {
    this.#turn += 1;
    this.#fetching = undefined;
    this.#reader?.abandon();
    this.#reader = undefined;
  }
}
