import { linkSync, rmSync } from "node:fs";
import { join } from "node:path";
import { messageOf, UserError } from "../../base/errors.ts";
import { PAGE_BYTES } from "../../base/page.ts";
import { waitFor, within } from "../../base/wait.ts";
import { RAM_BLOCK } from "../../qemu/command-line.ts";
import { beginning, MADE_RAM_SECTION_ID } from "../../qemu/stream/made-stream.ts";
import type { PageRoute, Role } from "../core/index.ts";
import type { PageRun } from "../dirty/pages.ts";
import { PageFetcher } from "../pages/fetcher.ts";
import { encodeNote, type Note } from "../pages/notes.ts";
import { decodePages, encodeRequest, type PageRequest } from "../pages/page-frames.ts";
import { type BlockSize, PageMap, pagesOf } from "../pages/page-map.ts";
import type { RecordPiece } from "../pages/record-frames.ts";
import { pagesIn, TargetFeed } from "../relay/feed.ts";
import { AheadIntake, Holes, THROWN_PING } from "./ahead-intake.ts";
import { BaseCopy } from "./base-copy.ts";
import { type DataShell, log, sendTargetPages } from "./data-shell.ts";
import type { Ahead, Package } from "./kept-package.ts";
import { LogReader } from "./log-reader.ts";
import { unpackPages } from "./page-runs.ts";
import type { AheadOffer, BaseOf, RestoredMemory } from "./protocol.ts";
import { RamImage } from "./ram-image.ts";

type BaseHeld = Extract<Note, { kind: "base-held" }>;

/** Of the rate that the push takes until the base would survive the source's host. */
const SHARE_UNTIL_COVERED = 0.5;
/** The same where the source bounds what it sends to both: a vCPU's pages come out of the escrow's part. */
const SHARE_OF_ONE_BOUND = 0.25;
const TICK_MS = 2;
/** What is under way at a time: enough for the way there and back where a processor is shared by three agents. */
const WINDOW_PAGES = 256;
const RETRY_MS = 150;
/** A source that sends nothing for so long is not the only one to be asked for what a vCPU waits for. */
const SILENT_MS = 40;
const ALL_PAGES_PING = 0x4645_7272;
const LOADED_PING = 0x4645_7273;
const BEGUN_PING = 0x4645_7274;
const BEGUN_MS = 5_000;
const PROGRESS_EVERY_MS = 20;

/** The target's part: feeds QEMU the stream, gets it its pages; and, on any host, gets the base to restore a VM from. */
export class TargetStore {
  readonly #shell: DataShell;
  #package: Package | undefined;
  #map: PageMap | undefined;
  #fetcher: PageFetcher | undefined;
  /** What came, or comes, ahead of the VM. */
  #intake: AheadIntake | undefined;
  #preparing: { readonly base: string; readonly path: string; readonly prepared: Promise<void> } | undefined;
  /** Counts what was prepared, and forgotten. */
  #prepared = 0;
  #holes: Holes | undefined;
  #feed: TargetFeed | undefined;
  #ticking: NodeJS.Timeout | undefined;
  #route: PageRoute = "direct";
  /** Since the route was set last. */
  #taken_over: "served" | undefined;
  #source_heard_ms = 0;
  #asked_all = false;
  #ended = false;
  #told_ms = 0;
  #covered = false;
  #share_until_covered = SHARE_UNTIL_COVERED;
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

  /** The QEMU that waits gets the stream's beginning, once; then pages of that name may come. */
  async prepareAhead(offer: AheadOffer & { readonly path: string }): Promise<void> {
    const { base, path, turn } = offer;
    // The QEMU that it was prepared for is not the one that waits here.
    if (this.#preparing !== undefined && this.#preparing.path !== path) this.#forgetAhead();
    if (this.#preparing?.base !== base) {
      if (this.#preparing !== undefined) throw new UserError("the QEMU that waits here is for another attempt");
      this.#preparing = { base, path, prepared: this.#prepare(offer) };
    }
    await this.#preparing.prepared;
    // However much it is: whoever offers asks what has been done, and waits for that.
    await this.#intake?.thrown();
    const frames = this.#intake?.base === base ? this.#intake.frames : undefined;
    // Taken no more: whoever offers gives up.
    if (frames === undefined) return;
    this.#shell.peers.sendData("source", "bulk", encodeNote({ kind: "ahead-ready", base, turn, frames }));
  }

  async #prepare({ path, base, blocks, machine }: BaseOf & { path: string; machine: string }): Promise<void> {
    const begun = Promise.withResolvers<void>();
    const prepared = this.#prepared;
    const feed: TargetFeed = await this.#connect(path, { ram_section_id: MADE_RAM_SECTION_ID, blocks }, (value) => {
      if (value === BEGUN_PING) begun.resolve();
      if (value === THROWN_PING && this.#intake?.feed === feed) this.#intake.hasThrown();
    });
    try {
      feed.write(beginning({ machine, blocks }, BEGUN_PING));
      await within({ what: "QEMU to read the stream's beginning", timeout_ms: BEGUN_MS }, begun.promise);
      if (prepared !== this.#prepared) throw new UserError("memory that comes ahead is not wanted any more");
    } catch (error) {
      feed[Symbol.dispose]();
      throw error;
    }
    this.#intake = new AheadIntake(base, blocks, feed, this.#shell.config.ram_path);
  }

  async load(path: string, what: Package, hold: boolean): Promise<void> {
    this.#package = what;
    if (what.ahead === undefined) {
      const feed = await this.#connect(path, what);
      this.#begin(feed, new PageMap(what.blocks));
      feed.write(what.preamble);
      feed.write(what.packaged);
      if (hold) feed.ping(LOADED_PING);
      return;
    }
    const intake = this.#intake;
    if (intake === undefined) throw new UserError("what was copied ahead is not here any more");
    const { ahead } = what;
    const began_ms = performance.now();
    // All of them were here before the guest stood still: the source has asked. However much it was, that takes no time.
    await waitFor(
      { what: "the last pages that were copied ahead", timeout_ms: this.#shell.config.lease_ms * 2, interval_ms: 1 },
      () => (this.#intake === intake && intake.hasAll(ahead) ? true : undefined),
    );
    const commands = intake.settle(ahead);
    this.#intake = undefined;
    this.#begin(intake.feed, intake.map, intake.holes);
    for (const command of commands) intake.feed.write(command);
    intake.feed.write(what.packaged);
    // What is stale the guest used last: most of it comes while QEMU loads the package, before a vCPU touches it.
    this.#fetcher?.rested();
    this.#fetcher?.tick(performance.now());
    const text = `package handed to QEMU in ${(performance.now() - began_ms).toFixed(1)} ms`;
    this.#shell.emit({ kind: "run.note", text });
    if (hold) intake.feed.ping(LOADED_PING);
    intake.close();
    this.tellFollows();
  }

  /** Until the escrow says so: it makes the base of this VM of what it has. */
  tellFollows(): void {
    const { base, follows } = this.#package ?? {};
    if (base === undefined || follows === undefined || this.#feed === undefined || this.#held?.base === base) return;
    this.#shell.peers.sendData("escrow", "bulk", encodeNote({ kind: "base-follows", base, of: follows }));
  }

  async recover(path: string, what: Package): Promise<{ readonly count: number; readonly total: number }> {
    this.#package = what;
    const feed = await this.#connect(path, what);
    const received = await feed.recover();
    const map = new PageMap(what.blocks);
    for (const [block, bitmap] of received) {
      for (const page of pagesIn(bitmap)) if (map.knows(block, page)) map.add(block, page);
    }
    this.#begin(feed, map, what.ahead === undefined ? undefined : holesAfter(what.ahead, what.blocks, map));
    return { count: map.count, total: map.pages_total };
  }

  /** What will come once more: QEMU throws it away while the guest still runs. */
  aheadStale({ base, block, first, pages }: Extract<Note, { kind: "ahead-stale" }>): void {
    if (this.#intake?.base === base) this.#intake.throwAway(block, first, Buffer.from(pages, "base64"));
  }

  async #connect(
    path: string,
    what: Pick<Package, "ram_section_id" | "blocks">,
    onPong: (value: number) => void = () => undefined,
  ): Promise<TargetFeed> {
    const feed: TargetFeed = await TargetFeed.connect(path, {
      ram_section_id: what.ram_section_id,
      blocks: what.blocks,
      lender: this.#shell.peers.buffers,
      onPong: (value) => {
        onPong(value);
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

  #begin(feed: TargetFeed, map: PageMap, holes?: Holes): void {
    this.#feed = feed;
    this.#holes = holes;
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
    this.#share_until_covered = shareUntilCovered(this.#package?.ahead);
    this.#setShare();
    feed.onRequest = (run) => this.#want(run, feed, fetcher);
    clearInterval(this.#ticking);
    this.#ticking = setInterval(() => this.#tick(), TICK_MS);
  }

  /** What QEMU waits for: asked for where it is; what came ahead and is not there is zeros, which nobody has to be asked for. */
  #want({ block, first, count }: PageRun, feed: TargetFeed, fetcher: PageFetcher): void {
    const now_ms = performance.now();
    for (let page = first; page < first + count; page += 1) {
      if (block === RAM_BLOCK && this.#holes?.has(page) === true) {
        // Once: a page that comes twice is fatal for it.
        this.#holes.remove(page);
        feed.writePages([{ block, page, bytes: null }]);
      } else fetcher.want({ block, first: page, count: 1 }, now_ms);
    }
  }

  /** The sure way of finding changed pages has to know what the log has: the base, as it came. */
  #arrived(block: string, first: number, pages: readonly (Uint8Array | null)[]): void {
    const content = Buffer.concat(pages.map((bytes) => bytes ?? Buffer.alloc(PAGE_BYTES)));
    this.#shell.tell({ kind: "arrived", block, first, content });
  }

  /** A record takes its part of the rate, and goes before pages that nobody waits for. */
  spent(bytes: number): void {
    if (this.#package?.ahead !== undefined) this.#fetcher?.spent(bytes);
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
    this.#forgetAhead();
    feed?.[Symbol.dispose]();
  }

  #forgetAhead(): void {
    const intake = this.#intake;
    this.#intake = undefined;
    this.#preparing = undefined;
    this.#prepared += 1;
    intake?.feed[Symbol.dispose]();
    intake?.close();
  }

  // ---- pages

  /** When this returns nobody looks at these bytes any more: whatever is wanted of them was copied or written. */
  pagesCame(from: Role, payload: Buffer): void {
    const answer = decodePages(payload);
    const intake = this.#intake;
    if (intake !== undefined && answer.base === intake.base) {
      try {
        intake.take(answer);
      } catch (error) {
        log(this.#shell, `memory that came ahead was not taken: ${messageOf(error)}`);
        this.#forgetAhead();
      }
      return;
    }
    const fetching = this.#fetching;
    if (fetching !== undefined) {
      if (answer.base === fetching.base && !fetching.copy.complete) fetching.copy.answered(answer);
      return;
    }
    if (answer.base !== this.#package?.base || this.#feed === undefined) return;
    if (from === "source") this.#source_heard_ms = performance.now();
    if (from === "escrow" && this.#route === "escrow" && this.#taken_over !== "served") {
      this.#taken_over = "served";
      this.#shell.emit({ kind: "takeover.served", server: from });
    }
    this.#fetcher?.answered(answer);
    this.#fetcher?.tick(performance.now());
  }

  setRoute(route: PageRoute): void {
    this.#route = route;
    this.#fetcher?.askAgain();
    const left = this.#map === undefined ? 0 : this.#map.pages_total - this.#map.count;
    this.#taken_over = undefined;
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

  #setShare(): void {
    if (this.#fetcher !== undefined) this.#fetcher.share = this.#covered ? 1 : this.#share_until_covered;
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
      const { device_state, mark, acked, frames, parts, pages, modified_pages, digest } = laid;
      const { small } = image;
      return { device_state, small, mark, acked, frames, parts, pages, modified_pages, digest };
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

/**
 * Until the base would survive the source's host the push leaves room for the escrow's copy: that is the danger. Where memory
 * came ahead to the target the escrow has nothing of it, and what is lacking crosses one bound whoever gets it: the last page
 * is here as soon as both could hold it together.
 */
export function shareUntilCovered(ahead: Pick<Ahead, "frames"> | undefined): number {
  if (ahead === undefined) return SHARE_UNTIL_COVERED;
  return ahead.frames === 0 ? SHARE_OF_ONE_BOUND : 1;
}

/**
 * After a recovery of QEMU's connection. Its account knows nothing of what was written ahead: ours says that it is there.
 * What of it is asked for all the same is not, and so was zeros. The map gets all that came ahead.
 */
export function holesAfter({ stale }: Ahead, blocks: readonly BlockSize[], map: PageMap): Holes {
  const holes = new Holes(blocks);
  for (const { name, bytes } of blocks) {
    const packed = stale[name];
    const pages = pagesOf(bytes);
    const is_stale = packed === undefined ? new Uint8Array(pages) : unpackPages(packed, pages).is;
    for (const [page, is] of is_stale.entries()) {
      if (is === 1 || !map.add(name, page)) continue;
      if (name === RAM_BLOCK) holes.add(page);
    }
  }
  return holes;
}
