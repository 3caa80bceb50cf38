import { randomBytes } from "node:crypto";
import { type FileHandle, open } from "node:fs/promises";
import { setTimeout as delay, setImmediate as turn } from "node:timers/promises";
import { UserError } from "../../base/errors.ts";
import { PAGE_BYTES } from "../../base/page.ts";
import { waitFor } from "../../base/wait.ts";
import { RAM_BLOCK } from "../../qemu/command-line.ts";
import type { LocatedBlock } from "../../qemu/ram-blocks.ts";
import type { PageRun } from "../dirty/pages.ts";
import type { SmallBlock } from "../dirty/small-blocks.ts";
import { encodeNote } from "../pages/notes.ts";
import { encodePages, RUN_PAGES_MAX } from "../pages/page-frames.ts";
import { type BlockSize, pagesOf } from "../pages/page-map.ts";
import { BasePages } from "../pages/page-source.ts";
import type { Changes } from "./changes.ts";
import type { DataShell } from "./data-shell.ts";
import type { Ahead } from "./kept-package.ts";
import { LastFound } from "./last-found.ts";
import { countRuns, packPages, without } from "./page-runs.ts";
import type { Rate } from "./rate.ts";

/** So much may wait in the connection's buffer before more is read: what somebody waits for is not long behind it. */
const BACKLOG_BYTES = 1 << 20;
/** Pages that the guest wrote here and there go one by one, and to wait for each would cost more than what it carries. */
const FRAMES_AT_ONCE = 32;
const OFFER_EVERY_MS = 2;
/** One that was ready once answers behind all that is on its way to it: asked again after so long, and then twice as long. */
const ASK_AGAIN_MS = 250;
/** For what the connection holds to arrive: buffers of the kernels and of who is in between, some MiB, over a slow link. */
const ARRIVES_MS = 30_000;
/** The target's QEMU has nothing to do but to listen. */
const READY_MS = 10_000;
/** A round is small when what is left takes no longer than this at the rate, or is less than this share of memory. */
const SMALL_MS = 20;
const SMALL_SHARE = 0.01;
/**
 * The guest writes about as fast as is sent when a round leaves more than this share of the one before; or when the next one
 * would, by what was written lately.
 */
const SHRINKS_TO = 0.75;
const ROUNDS_MAX = 30;
/**
 * What is stale is thrown away before the guest stands still where it costs more than so many runs: QEMU takes 5 µs for each,
 * and 1 or more for each of its pages.
 */
const STALE_RUNS_MIN = 256;
const PAGES_OF_A_RUN = 4;
/** And of so many pages at a time it is told, a bit for each at most. */
const STALE_PAGES_AT_ONCE = 2 ** 20;
/**
 * So often it is looked in the middle of a round: what the guest wrote before its turn came need not go once more, and is
 * told from what it wrote afterwards by that alone.
 */
const LOOK_EVERY_MS = 200;

export interface AheadOptions {
  readonly pid: number;
  readonly blocks: readonly LocatedBlock[];
  readonly ram_path: string;
  readonly pagescan: string;
  /** Folder of that QEMU, for the modified table; its shim's status file. */
  readonly folder: string;
  readonly shim_status_path: string;
}

/** What came of the rounds. */
export interface Rounds {
  readonly rounds: number;
  readonly sent_pages: number;
  readonly sent_bytes: number;
  /** Pages that the target does not have as they are now, as far as is known. */
  readonly left_pages: number;
  /** How long it was waited for the rate's sake, and for the connection to take more. */
  readonly rate_ms: number;
  readonly connection_ms: number;
  /** How much of the rate was not used, and is lost: whoever sends had no processor, or other work. */
  readonly lost_ms: number;
}

/** What the target lacks of a VM that stands still now. */
export interface Finished {
  readonly ahead: Ahead;
  readonly small: readonly SmallBlock[];
  readonly stale_pages: number;
}

/** One that is over. */
interface Round {
  readonly began_ms: number;
  /** Pages, in the rounds before it. */
  readonly sent_before: number;
  readonly connection: number | undefined;
}

function offerOf(base: string, machine: string, of: readonly BlockSize[], turn: number): Uint8Array[] {
  const blocks = of.map(({ name, bytes }) => ({ name, bytes }));
  return encodeNote({ kind: "ahead-offered", base, machine, blocks, turn });
}

/** What it costs QEMU to throw these away, in runs. */
function costOf(stale: Uint8Array): number {
  const { runs, pages } = countRuns(stale);
  return runs + pages / PAGES_OF_A_RUN;
}

/**
 * Memory of a guest that still runs, copied to the target in rounds: everything once, then what changed meanwhile, until
 * little is left. What changes is tracked from outside; each page is read after its note was begun anew, so that a write
 * that comes during the reading is found by the next look.
 */
export class MemoryAhead {
  readonly base: string;
  readonly blocks: readonly BlockSize[];
  readonly #changes: Changes;
  readonly #shell: DataShell;
  readonly #rate: Rate;
  readonly #file: FileHandle;
  readonly #pages: BasePages;
  /** By block, 1 for a page that the target lacks as it is. */
  readonly #lacks: ReadonlyMap<string, Uint8Array>;
  #lacking: number;
  readonly #present: Uint8Array;
  #small: readonly SmallBlock[] = [];
  #small_is_stale = true;
  #machine = "";
  #connection: number | undefined;
  /** Counts offers: an answer to an earlier one says nothing of now. */
  #turn = 0;
  #answered: { readonly turn: number; readonly frames: number } | undefined;
  /** Frames that the target had taken when this connection began, and what went over it since, in order. */
  #frames_before = 0;
  #sent: PageRun[] = [];
  /** How often something of it had not arrived. */
  #losses = 0;
  readonly #given_up = Promise.withResolvers<void>();
  #is_given_up = false;
  #rate_ms = 0;
  #connection_ms = 0;
  readonly #look_every_ms: number;
  #looked_ms = performance.now();
  readonly #last_found: LastFound;
  /** Told of every page that was found changed. */
  onChanged: (runs: readonly PageRun[]) => void = () => undefined;

  private constructor(
    shell: DataShell,
    rate: Rate,
    options: AheadOptions,
    file: FileHandle,
    changes: Changes,
    present: readonly PageRun[],
    base: string,
    look_every_ms: number,
  ) {
    this.base = base;
    this.#look_every_ms = look_every_ms;
    this.#shell = shell;
    this.#rate = rate;
    this.#file = file;
    this.#changes = changes;
    this.blocks = options.blocks.map(({ name, bytes }) => ({ name, bytes }));
    this.#last_found = new LastFound(this.blocks);
    this.#lacks = new Map(this.blocks.map(({ name, bytes }) => [name, new Uint8Array(pagesOf(bytes)).fill(1)]));
    this.#lacking = this.blocks.reduce((sum, { bytes }) => sum + pagesOf(bytes), 0);
    const ram_bytes = this.blocks.find(({ name }) => name === RAM_BLOCK)?.bytes ?? 0;
    this.#pages = new BasePages(RAM_BLOCK, file.fd, ram_bytes, []);
    this.#present = new Uint8Array(pagesOf(ram_bytes));
    for (const { first, count } of present) this.#present.fill(1, first, first + count);
  }

  /**
   * What changes is known from before, and is closed with this; looks which pages there are, while the target's QEMU is made
   * ready.
   */
  static async open(
    shell: DataShell,
    rate: Rate,
    options: AheadOptions,
    changes: Changes,
    machine: string,
    look_every_ms = LOOK_EVERY_MS,
  ): Promise<MemoryAhead> {
    const base = randomBytes(8).toString("hex");
    try {
      shell.peers.sendData("target", "bulk", offerOf(base, machine, options.blocks, 0));
      const present = await changes.present();
      return new MemoryAhead(
        shell,
        rate,
        options,
        await open(options.ram_path, "r"),
        changes,
        present,
        base,
        look_every_ms,
      );
    } catch (error) {
      await changes[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Frames of pages that were sent, but for what is known to be lost. */
  get #frames(): number {
    return this.#frames_before + this.#sent.length;
  }

  get pages_total(): number {
    return this.blocks.reduce((sum, { bytes }) => sum + pagesOf(bytes), 0);
  }

  /** The target's QEMU is ready for pages of this name, and has taken so many frames of them. */
  ready({ base, turn, frames }: { readonly base: string; readonly turn: number; readonly frames: number }): void {
    if (base === this.base) this.#answered = { turn, frames };
  }

  /**
   * Asks the target until it is ready; again where the connection is another one: then what was on its way may be lost.
   * @throws WaitTimeoutError; UserError when it was given up, or the target has lost what it had
   */
  async offer(machine: string): Promise<void> {
    this.#machine = machine;
    if (this.#small_is_stale) await this.#readSmall();
    const { peers } = this.#shell;
    this.#turn += 1;
    const turn = this.#turn;
    const note = offerOf(this.base, machine, this.blocks, turn);
    const first = this.#answered === undefined;
    let connection: number | undefined;
    let [again_ms, wait_ms] = [0, first ? OFFER_EVERY_MS : ASK_AGAIN_MS];
    await waitFor(
      {
        what: first ? "the target's QEMU to be ready for memory" : "the memory that was sent to have arrived",
        timeout_ms: first ? READY_MS : ARRIVES_MS,
        interval_ms: OFFER_EVERY_MS,
      },
      () => {
        this.#still();
        const now = peers.connection("target", "bulk");
        if (this.#answered?.turn === turn && connection === now) return true;
        if (connection === now && performance.now() < again_ms) return undefined;
        if (!first && connection === now) wait_ms *= 2;
        again_ms = performance.now() + wait_ms;
        connection = now;
        peers.sendData("target", "bulk", note);
        return undefined;
      },
    );
    const frames = this.#answered?.frames ?? 0;
    if (frames < this.#frames_before) throw new UserError("the target has no more what it had of this memory");
    // What arrived of it are the first so many: a connection loses its end.
    const lost = this.#sent.slice(frames - this.#frames_before);
    for (const run of lost) this.#isLacking(run);
    if (lost.length > 0) this.#losses += 1;
    this.#sent = [];
    this.#frames_before = frames;
    this.#connection = connection;
  }

  /**
   * Rounds until little is left, the guest writes as fast as is sent, or time is up, which counts from when everything
   * went once. When this returns nothing is on its way any more: a package need not wait for it.
   * @throws WaitTimeoutError when the target is not reached any more; UserError when it was given up
   */
  async send(most_ms: number): Promise<Rounds> {
    let until_ms = Number.POSITIVE_INFINITY;
    let [rounds, sent_pages, sent_bytes] = [0, 0, 0];
    let round: Round | undefined;
    for (let before = Number.POSITIVE_INFINITY, losses = 0; ; ) {
      this.#still();
      if (rounds > 0) {
        await this.#allArrived();
        await this.#look();
      }
      await this.#connect();
      const left = this.#lacking;
      // What was lost on the way says nothing of how fast the guest writes.
      if (this.#losses !== losses) before = Number.POSITIVE_INFINITY;
      losses = this.#losses;
      const over = rounds >= ROUNDS_MAX || performance.now() >= until_ms;
      if (rounds > 0 && (over || this.#isOutwritten(left, sent_pages, round) || this.isEnough(left, before))) break;
      before = left;
      round = { began_ms: performance.now(), sent_before: sent_pages, connection: this.#connection };
      if (this.#small_is_stale) await this.#readSmall();
      let [frames, pages] = [0, 0];
      for (const run of this.#lackingRuns()) {
        // Everything goes once, however long that takes: in post-copy it would take no less, and there more is at stake.
        if (performance.now() >= until_ms) break;
        if (performance.now() - this.#looked_ms >= this.#look_every_ms) await this.#glance();
        const bytes = await this.#sendRun(run);
        sent_pages += run.count;
        sent_bytes += bytes;
        [frames, pages] = [frames + 1, pages + run.count];
        if (frames < FRAMES_AT_ONCE && pages < RUN_PAGES_MAX) continue;
        await this.#pace();
        [frames, pages] = [0, 0];
      }
      await this.#pace();
      rounds += 1;
      if (rounds === 1) until_ms = performance.now() + most_ms;
    }
    await this.#throwAway();
    const [rate_ms, connection_ms] = [Math.round(this.#rate_ms), Math.round(this.#connection_ms)];
    const lost_ms = Math.round(this.#rate.lost_ms);
    return { rounds, sent_pages, sent_bytes, left_pages: this.#lacking, rate_ms, connection_ms, lost_ms };
  }

  /**
   * Looks now and then, for whoever else is sent pages of this memory, until that is done, and once more then: what was
   * written before a page was read is told from what was written afterwards by that alone.
   */
  async lookUntil(done: Promise<unknown>): Promise<void> {
    let over = false;
    const end = done.finally(() => {
      over = true;
    });
    while (!over && !this.#is_given_up) {
      await Promise.race([end, delay(this.#look_every_ms), this.#given_up.promise]);
      if (!this.#is_given_up) await this.#glance();
    }
  }

  /**
   * What is stale now will be at switchover: the target's QEMU throws it away while the guest still runs; then what the guest
   * has written meanwhile, until that is little. All of it is in the package once more: what is told here may get lost.
   */
  async #throwAway(): Promise<void> {
    const told = new Map<string, Uint8Array>();
    for (let before = Number.POSITIVE_INFINITY; ; ) {
      const untold = [...this.#lacks].map(([block, now]) => {
        const lacks = Uint8Array.from(now);
        return { block, lacks, pages: without(lacks, told.get(block)) };
      });
      const cost = untold.reduce((sum, { pages }) => sum + costOf(pages), 0);
      if (cost < STALE_RUNS_MIN || cost > before * SHRINKS_TO) return;
      before = cost;
      for (const { block, lacks, pages } of untold) {
        for (let first = 0; first < pages.length; first += STALE_PAGES_AT_ONCE) {
          const piece = pages.subarray(first, first + STALE_PAGES_AT_ONCE);
          if (!piece.includes(1)) continue;
          this.#sayStale(block, first, piece);
          // Answered when it is done: a piece is some seconds of QEMU's at most.
          await this.#allArrived();
        }
        told.set(block, lacks);
      }
      await this.#look();
      // A connection that broke meanwhile had nothing on its way: the guest need not stand still to find that out.
      await this.#connect();
    }
  }

  #sayStale(block: string, first: number, pages: Uint8Array): void {
    const packed = packPages(pages).toString("base64");
    this.#send(encodeNote({ kind: "ahead-stale", base: this.base, block, first, pages: packed }));
  }

  /** @returns bytes, which count for the rate; where there is no connection at the moment whoever sends next sees to it */
  #send(pieces: readonly Uint8Array[], onDone?: () => void): number {
    this.#shell.peers.sendData("target", "bulk", pieces, onDone);
    const bytes = pieces.reduce((sum, piece) => sum + piece.length, 0);
    this.#rate.count(bytes);
    return bytes;
  }

  /**
   * Whether a round of what is left would leave about as much: the guest has written so many pages within the time that it
   * would take, as far as looks tell. Where the connection was another one nobody knows how long that is.
   */
  #isOutwritten(left: number, sent_pages: number, round: Round | undefined): boolean {
    if (round === undefined || round.connection !== this.#connection) return false;
    const now_ms = performance.now();
    const next_ms = ((now_ms - round.began_ms) * left) / Math.max(1, sent_pages - round.sent_before);
    return this.#last_found.since(now_ms - next_ms) > left * SHRINKS_TO;
  }

  /** Whether another round is of no use: it would be small, or leave about as much as it sends. */
  isEnough(pages: number, before: number): boolean {
    return this.#isSmall(pages) || pages > before * SHRINKS_TO;
  }

  #isSmall(pages: number): boolean {
    const { bytes_per_s } = this.#rate;
    const in_time = bytes_per_s > 0 ? (bytes_per_s * SMALL_MS) / 1000 / PAGE_BYTES : Number.POSITIVE_INFINITY;
    return pages <= Math.min(in_time, this.pages_total * SMALL_SHARE);
  }

  /** Runs of what the target lacks, as they are when they are come to. */
  *#lackingRuns(): Generator<PageRun> {
    for (const [block, lacks] of this.#lacks) {
      for (let first = lacks.indexOf(1); first >= 0; first = lacks.indexOf(1, first)) {
        let count = 1;
        while (count < RUN_PAGES_MAX && lacks[first + count] === 1) count += 1;
        yield { block, first, count };
        first += count;
      }
    }
  }

  async #connect(): Promise<void> {
    if (this.#shell.peers.connection("target", "bulk") !== this.#connection) await this.offer(this.#machine);
  }

  async #sendRun(run: PageRun): Promise<number> {
    this.#still();
    const { peers } = this.#shell;
    await this.#connect();
    if (run.block !== RAM_BLOCK && this.#small_is_stale) await this.#readSmall();
    // Before it is read: what is written from now on is found by the next look, and lacks again.
    this.#lacks.get(run.block)?.fill(0, run.first, run.first + run.count);
    this.#lacking -= run.count;
    const into = peers.buffers.take(run.count * PAGE_BYTES);
    const pages = this.#read(run, into);
    const frame = encodePages({ by: "target", base: this.base, block: run.block, first: run.first, pages });
    this.#sent.push(run);
    return this.#send(frame, () => peers.buffers.give(into));
  }

  /** Asked behind all of it: what lies in a connection is more than this process sees. */
  async #allArrived(): Promise<void> {
    const sent_ms = performance.now();
    await this.offer(this.#machine);
    this.#connection_ms += performance.now() - sent_ms;
  }

  /** What the rate and the connection want to be waited for, and a turn for whoever else has something to do here. */
  async #pace(): Promise<void> {
    const { peers } = this.#shell;
    const sent_ms = performance.now();
    const wait_ms = this.#rate.wait_ms;
    if (wait_ms > 1) await Promise.race([delay(wait_ms), this.#given_up.promise]);
    const paid_ms = performance.now();
    this.#rate_ms += paid_ms - sent_ms;
    await Promise.race([peers.drained("target", "bulk", BACKLOG_BYTES), this.#given_up.promise]);
    this.#connection_ms += performance.now() - paid_ms;
    await turn();
  }

  #read(run: PageRun, into: Buffer): readonly (Uint8Array | null)[] {
    if (run.block !== RAM_BLOCK) {
      const content = this.#small.find(({ name }) => name === run.block)?.content ?? Buffer.alloc(0);
      return Array.from({ length: run.count }, (_, i) =>
        content.subarray((run.first + i) * PAGE_BYTES, (run.first + i + 1) * PAGE_BYTES),
      );
    }
    // A page that was not there when tracking began, and was not written since, is zeros: it need not be looked at.
    const there = this.#present.indexOf(1, run.first);
    if (there < 0 || there >= run.first + run.count) return Array.from({ length: run.count }, () => null);
    return this.#pages.read(run, into).map((page) => {
      if (page === undefined) throw new Error(`the guest's RAM ends before page ${run.first + run.count}`);
      return page;
    });
  }

  async #readSmall(): Promise<void> {
    this.#small_is_stale = false;
    this.#small = await this.#changes.small();
  }

  async #look(): Promise<void> {
    this.#changed((await Promise.race([this.#changes.look(), this.#given_up.promise])) ?? []);
  }

  async #glance(): Promise<void> {
    this.#changed((await Promise.race([this.#changes.glance(), this.#given_up.promise])) ?? []);
  }

  #changed(runs: readonly PageRun[]): void {
    this.#looked_ms = performance.now();
    const { doubtful } = this.#changes;
    if (doubtful !== undefined) {
      // Where nothing was sent everything is lacking, and only what was read besides may be old.
      if (this.#frames > 0) throw new Error(`nobody knows what of the memory ahead is stale: ${doubtful}`);
      this.#small_is_stale = true;
    }
    this.#last_found.found(runs, this.#looked_ms);
    for (const run of runs) {
      if (run.block === RAM_BLOCK) this.#present.fill(1, run.first, run.first + run.count);
      else this.#small_is_stale = true;
      this.#isLacking(run);
    }
    this.onChanged(runs);
  }

  #isLacking({ block, first, count }: PageRun): void {
    const lacks = this.#lacks.get(block);
    if (lacks === undefined) return;
    for (let page = first; page < first + count; page += 1) {
      this.#lacking += 1 - (lacks[page] ?? 1);
      lacks[page] = 1;
    }
  }

  /**
   * The guest stands still, and its device state was saved: the last look, and what the target lacks.
   * @throws Error when the connection broke meanwhile, or what changed is in doubt: nobody knows what the target has;
   * PagescanError
   */
  async finish(): Promise<Finished> {
    await this.#look();
    if (this.#small_is_stale) await this.#readSmall();
    this.#still();
    const frames = this.#frames;
    // Where nothing went over it nothing was lost with it.
    if (frames > 0 && this.#shell.peers.connection("target", "bulk") !== this.#connection)
      throw new Error("the connection over which memory was copied ahead is gone");
    const stale: Record<string, Buffer> = {};
    for (const [block, lacks] of this.#lacks) {
      if (lacks.includes(1)) stale[block] = packPages(lacks);
    }
    const stale_pages = this.#lacking;
    // A QEMU that is told to throw nothing away refuses to run: one page comes once more.
    if (stale_pages === 0) stale[RAM_BLOCK] = packPages(Uint8Array.of(1));
    return { ahead: { base: this.base, stale, frames }, small: this.#small, stale_pages: Math.max(1, stale_pages) };
  }

  /** @throws UserError where it is not wanted any more */
  #still(): void {
    if (this.#is_given_up) throw new UserError("memory is not copied ahead any more");
  }

  giveUp(): void {
    this.#is_given_up = true;
    this.#given_up.resolve();
  }

  async close(): Promise<void> {
    this.giveUp();
    await this.#file.close().catch(() => undefined);
    await this.#changes[Symbol.asyncDispose]();
  }
}
