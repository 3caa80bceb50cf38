import { closeSync, existsSync, openSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay, setImmediate as turn } from "node:timers/promises";
import { messageOf, UserError } from "../../base/errors.ts";
import { unlinkLarge } from "../../base/unlink.ts";
import { waitFor } from "../../base/wait.ts";
import { RAM_BLOCK } from "../../qemu/command-line.ts";
import type { LocatedBlock } from "../../qemu/ram-blocks.ts";
import type { Role } from "../core/index.ts";
import type { SmallBlock } from "../dirty/small-blocks.ts";
import type { Spool } from "../dirty/spool.ts";
import { CHANGED_RUNS_MAX, encodeNote, type Note } from "../pages/notes.ts";
import { decodeRequest, encodePages } from "../pages/page-frames.ts";
import { BasePages, readRun } from "../pages/page-source.ts";
import type { RecordPiece } from "../pages/record-frames.ts";
import { BaseAhead, type ChangedRuns } from "./base-ahead.ts";
import { RecordedChanges, TrackedChanges } from "./changes.ts";
import { type DataChannel, type DataShell, log, sendTargetPages } from "./data-shell.ts";
import type { Follows } from "./kept-package.ts";
import { EscrowSilentError, LogReader } from "./log-reader.ts";
import { type Finished, MemoryAhead } from "./memory-ahead.ts";
import type { BaseOf, DataCalls, RestoredMemory } from "./protocol.ts";
import { RamImage } from "./ram-image.ts";
import { Rate } from "./rate.ts";

type BaseHeld = Extract<Note, { kind: "base-held" }>;
type HaveBase = BaseOf & {
  readonly small: readonly SmallBlock[];
  readonly compare: boolean;
  readonly follows?: Follows | undefined;
};

/** So much may wait to be sent before more is read. */
const BACKLOG_BYTES = 2 << 20;
const ESCROW_AT_ONCE_PAGES = 16;

/** Where the source keeps its base: the file that was the guest's RAM, under another name. */
export function basePath(memory_folder: string): string {
  return join(memory_folder, "base");
}

/**
 * The source's part: copies ahead, keeps the base and serves pages of it, and lays committed transactions over it, so
 * that next to nothing is left to be done when the VM has to be restored here.
 */
export class SourceStore {
  readonly #shell: DataShell;
  readonly #path: string;
  /** Says that the base is not what it was at switchover: there is no way back to the package alone. */
  readonly #touched_path: string;
  #base: HaveBase | undefined;
  #file: number | undefined;
  #pages: BasePages | undefined;
  #serving = false;
  #comparing = false;
  #ahead: BaseAhead | undefined;
  #memory: MemoryAhead | undefined;
  /** What changes of a VM that is protected, and leaves. */
  #recorded: RecordedChanges | undefined;
  /** How transactions are taken here: by digests. */
  #finds_surely = false;
  /** The escrow has made its base this one, of a VM that was protected before. */
  #followed = false;
  /** Bounds what goes out of here, where the agents switch over. */
  readonly #rate = new Rate(0);
  #ahead_given_up = false;
  /** Most of memory is at the target: its post-copy may be over before a copy for the escrow would have been of any use. */
  #most_is_there = false;
  #escrow_from_ms = Number.NEGATIVE_INFINITY;
  /** The present base is what was copied ahead but for these; until the escrow has heard of it. */
  #changed: { readonly from: string; readonly runs: ChangedRuns } | undefined;
  #held: BaseHeld | undefined;
  #image: RamImage | undefined;
  #reader: LogReader | undefined;
  #may_lay_over = false;
  #laying: Promise<unknown> | undefined;
  #more = false;
  /** A restore has begun, and nobody has said that it came to nothing: the base may be the memory of a running VM. */
  #restoring = false;
  /** Records may be laid over by themselves once the restore has come to nothing. */
  #resume = false;

  constructor(shell: DataShell) {
    this.#shell = shell;
    this.#path = basePath(shell.config.memory_folder);
    this.#touched_path = join(shell.config.memory_folder, "base-laid-over");
  }

  // ---- ahead

  /** While the guest still runs here: a good part of its memory goes to the escrow before anything is risked. */
  async copyAhead(pid: number, blocks: readonly LocatedBlock[], share: number, most_ms: number): Promise<number> {
    const { ram_path, pagescan } = this.#shell.config;
    this.#ahead_given_up = false;
    const ahead = await BaseAhead.open({ ram_path, pagescan, pid, blocks });
    this.#ahead = ahead;
    this.offer();
    return await this.#untilHeld(share, most_ms);
  }

  /** @returns the share that the escrow has, perhaps less than was waited for */
  async #untilHeld(share: number, most_ms: number): Promise<number> {
    const held = (): number => (this.#held?.base === this.#ahead?.base ? (this.#held?.share ?? 0) : 0);
    await waitFor({ what: "the escrow to have a part of the base", timeout_ms: most_ms, interval_ms: 5 }, () =>
      this.#ahead_given_up || held() >= share ? true : undefined,
    ).catch(() => undefined);
    return held();
  }

  /**
   * Memory of the running guest to the target, in rounds; where nothing goes there a share of it to the escrow. Never to
   * both: what the target lacks at switchover is what the guest wrote last, and of that a copy made before has nothing.
   * @returns what is left; or why nothing was begun: nobody can say here which pages change
   */
  async pushAhead(what: Parameters<DataCalls["pushAhead"]>[0]): Promise<ReturnType<DataCalls["pushAhead"]>> {
    const { bytes_per_s, memory: wanted, share, machine, most_ms, by_records, ...rest } = what;
    const told = !by_records || !this.#finds_surely;
    const to_target = wanted && told;
    if (wanted && !told) {
      const text = "no memory goes ahead: changed pages are found the sure way, which sees none that changed back";
      this.#shell.emit({ kind: "run.note", text });
    }
    const { ram_path, pagescan } = this.#shell.config;
    this.#ahead_given_up = false;
    this.#most_is_there = false;
    this.#rate.bytes_per_s = bytes_per_s;
    const options = { ...rest, ram_path, pagescan };
    const changes = by_records ? new RecordedChanges(options) : await TrackedChanges.open(options);
    if (typeof changes === "string") return { tracked: false, why: changes };
    this.#recorded = by_records && changes instanceof RecordedChanges ? changes : undefined;
    // It may have begun since.
    if (this.#finds_surely) this.#recorded?.doubt();
    const memory = await MemoryAhead.open(this.#shell, this.#rate, options, changes, machine);
    this.#memory = memory;
    try {
      if (this.#ahead_given_up) throw new UserError("the migration was given up");
      // What is protected already is at the escrow.
      const to_escrow = share > 0 && !to_target && !by_records;
      const ahead = to_escrow ? await BaseAhead.tracked(ram_path, memory.blocks) : undefined;
      if (ahead !== undefined) {
        memory.onChanged = (runs) => ahead.written(runs);
        this.#ahead = ahead;
        this.offer();
      }
      await memory.offer(machine);
      if (to_target && share > 0) {
        const rounds = await memory.send(most_ms);
        this.#most_is_there = true;
        return { tracked: true, ...rounds };
      }
      if (ahead !== undefined) await this.#shareToEscrow(memory, ahead, share, most_ms);
      return {
        tracked: true,
        rounds: 0,
        sent_pages: 0,
        sent_bytes: 0,
        left_pages: memory.pages_total,
        rate_ms: 0,
        connection_ms: 0,
        lost_ms: 0,
      };
    } catch (error) {
      await this.giveUpAhead();
      throw error;
    }
  }

  /**
   * A share of memory to the escrow, and what changed meanwhile once more, in rounds, as it goes to a target: what the
   * escrow lacks at switchover is what the source's host is needed for.
   */
  async #shareToEscrow(memory: MemoryAhead, ahead: BaseAhead, share: number, most_ms: number): Promise<void> {
    const until_ms = performance.now() + most_ms;
    for (let before = Number.POSITIVE_INFINITY; ; ) {
      const holding = this.#untilHeld(share, Math.max(0, until_ms - performance.now()));
      const [held] = await Promise.all([holding, memory.lookUntil(holding)]);
      const pages = ahead.written_pages;
      if (held < share || this.#ahead !== ahead || memory.isEnough(pages, before) || pages > CHANGED_RUNS_MAX) return;
      before = pages;
      ahead.again();
      this.offer();
    }
  }

  aheadReady(note: Extract<Note, { kind: "ahead-ready" }>): void {
    this.#memory?.ready(note);
  }

  /** A transaction of the VM that leaves was taken: these pages have changed since the one before, or earlier. */
  recordTaken(spool: Spool): void {
    this.#recorded?.note(spool);
  }

  /** A record takes its part of the rate, and goes before memory that is copied ahead. */
  spent(bytes: number): void {
    if (this.#memory !== undefined) this.#rate.spent(bytes);
  }

  /** Transactions are taken by digests from here on, or not any more. */
  findsSurely(on: boolean): void {
    this.#finds_surely = on;
    if (on) this.#recorded?.doubt();
  }

  /**
   * The guest stands still: what the target lacks. Nothing of what was copied ahead is read any more when this returns.
   * @param last what the last transaction has found, of a VM that is protected
   */
  async finishAhead(last?: Spool): Promise<Finished> {
    const memory = this.#memory;
    if (memory === undefined) throw new UserError("no memory was copied ahead");
    const recorded = this.#recorded;
    try {
      if (last !== undefined) this.recordTaken(last);
      recorded?.still();
      const [finished] = await Promise.all([memory.finish(), this.#ahead?.stop()]);
      return finished;
    } finally {
      // They may be another attempt's by now.
      if (this.#memory === memory) this.#memory = undefined;
      if (this.#recorded === recorded) this.#recorded = undefined;
      void memory.close();
    }
  }

  async giveUpAhead(): Promise<void> {
    this.#ahead_given_up = true;
    const memory = this.#memory;
    this.#memory = undefined;
    this.#recorded = undefined;
    await memory?.close();
    const ahead = this.#ahead;
    this.#ahead = undefined;
    await ahead?.stop();
    await ahead?.close();
  }

  async stopAhead(): Promise<void> {
    await this.#ahead?.stop();
  }

  // ---- the base

  haveBase(base: HaveBase): void {
    this.#base = base;
    this.#followed = false;
    // A base that has just been made is as it stood, whatever an earlier life left beside it.
    if (base.compare) rmSync(this.#touched_path, { force: true });
    const ahead = this.#ahead;
    this.#ahead = undefined;
    if (ahead === undefined) return;
    if (base.compare) void this.#compare(ahead, base.base);
    else void ahead.close();
  }

  serve(): void {
    this.#serving = true;
    if (this.#pages !== undefined || this.#base === undefined || !existsSync(this.#path)) return;
    this.#file = openSync(this.#path, "r");
    this.#pages = new BasePages(RAM_BLOCK, this.#file, statSync(this.#path).size, this.#base.small);
    if (this.#most_is_there) this.#escrow_from_ms = performance.now() + this.#shell.config.lease_ms;
    this.offer();
  }

  stopServing(): void {
    this.#serving = false;
  }

  /** What the escrow says that it has. */
  baseHeld(held: BaseHeld): void {
    this.#held = held;
    const { base, follows } = this.#base ?? {};
    if (held.base === base) this.#followed = true;
    if (follows !== undefined && !this.#followed && held.base === follows.base) return;
    // A VM that runs elsewhere has a base of its own by now: nobody will ever come back to this one.
    if (held.layout !== undefined && this.#base !== undefined && this.#base.base !== held.base)
      this.#shell.tell({ kind: "base-void" });
  }

  /** The escrow is told that there is a base, until it has all of it. */
  offer(): void {
    const ahead = this.#ahead;
    if (ahead !== undefined) {
      const { from = null, changed = {} } = ahead.since ?? {};
      this.#offer({ base: ahead.base, blocks: ahead.blocks, from, final: false, changed });
      return;
    }
    if (!this.#serving || this.#base === undefined || this.#comparing) return;
    const { base, blocks, follows } = this.#base;
    if (follows !== undefined && !this.#followed) {
      this.#shell.peers.sendData("escrow", "bulk", encodeNote({ kind: "base-follows", base, of: follows }));
      return;
    }
    if (this.#held?.base === base && this.#held.complete) return;
    if (performance.now() < this.#escrow_from_ms) return;
    this.#offer({ base, blocks, from: this.#changed?.from ?? null, final: true, changed: this.#changed?.runs ?? {} });
  }

  #offer(what: Omit<Extract<Note, { kind: "base-offered" }>, "kind">): void {
    const blocks = what.blocks.map(({ name, bytes }) => ({ name, bytes }));
    this.#shell.peers.sendData("escrow", "bulk", encodeNote({ kind: "base-offered", ...what, blocks }));
  }

  /** The guest stands still: which of the pages that were copied ahead has it changed since? */
  async #compare(ahead: BaseAhead, base: string): Promise<void> {
    this.#comparing = true;
    try {
      const began_ms = performance.now();
      const changed = await ahead.changed();
      if (this.#base?.base !== base) return;
      const count = Object.values(changed).reduce((sum, runs) => sum + runs.length, 0);
      if (count <= CHANGED_RUNS_MAX) this.#changed = { from: ahead.base, runs: changed };
      const text = `${count} runs of pages had changed since they were copied ahead (${Math.round(performance.now() - began_ms)} ms)`;
      this.#shell.emit({ kind: "run.note", text });
    } catch (error) {
      // Then nothing of what was copied ahead counts, and the base is copied anew.
      log(this.#shell, `pages copied ahead were not compared: ${messageOf(error)}`);
    } finally {
      this.#comparing = false;
      this.offer();
      await ahead.close();
      this.#layOver();
    }
  }

  /** Answers a request, in the direction from which it came. */
  async requested(from: Role, payload: Buffer, channel: DataChannel): Promise<void> {
    const { by, of, base, runs } = decodeRequest(payload);
    if (of !== "source") return;
    const { peers } = this.#shell;
    // What somebody waits for is answered at once; the rest no faster than it is taken.
    if (channel === "bulk") await peers.drained(from, "bulk", BACKLOG_BYTES);
    if (by === "escrow") await this.#turnOfEscrow();
    if (this.#ahead?.base === base) {
      await this.#ahead.serve(runs, peers.buffers, (block, first, pages, onDone) => {
        const frame = encodePages({ by, base, block, first, pages });
        this.#went(frame);
        peers.sendData(from, "bulk", frame, onDone);
      });
      return;
    }
    if (!this.#serving || this.#pages === undefined || this.#base?.base !== base) return;
    let at_once = 0;
    for (const run of runs) {
      // What somebody waits for is answered in between; the escrow lacks many single pages, of which several go in one turn.
      const most = by === "escrow" ? ESCROW_AT_ONCE_PAGES : 1;
      if (channel === "bulk" && at_once >= most) {
        await turn();
        at_once = 0;
      }
      at_once += run.count;
      if (this.#pages === undefined || this.#base?.base !== base) return;
      const { pages: whole, give } = readRun(this.#pages, run, peers.buffers);
      if (whole.length === 0) continue;
      const frame = encodePages({ by, base, block: run.block, first: run.first, pages: whole });
      this.#went(frame);
      if (by === "target") sendTargetPages(peers, from, frame, give);
      else peers.sendData(from, "bulk", frame, give);
    }
  }

  /** The target bounds itself, and goes first; the escrow's copy gets what is left. */
  async #turnOfEscrow(): Promise<void> {
    while (this.#rate.wait_ms > 1) await delay(this.#rate.wait_ms);
  }

  #went(frame: readonly Uint8Array[]): void {
    this.#rate.count(frame.reduce((sum, piece) => sum + piece.length, 0));
  }

  /** The base is not needed any more: the VM runs elsewhere, or in it, here. */
  forget(): void {
    this.#serving = false;
    this.#may_lay_over = false;
    this.#restoring = false;
    this.#resume = false;
    this.#pages = undefined;
    this.#reader?.abandon();
    this.#reader = undefined;
    this.#image?.[Symbol.dispose]();
    this.#image = undefined;
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
    this.#base = undefined;
    unlinkLarge(this.#path);
    rmSync(this.#touched_path, { force: true });
  }

  // ---- laying over

  /** A restore that has begun goes before it, however late this comes. */
  mayLayOver(): void {
    if (this.#restoring) this.#resume = true;
    else this.#may_lay_over = true;
    this.#layOver();
  }

  logGrew(): void {
    this.#more = true;
    this.#layOver();
  }

  refused(question: number, why: string): void {
    this.#reader?.refused(question, why);
  }

  pieceCame(piece: RecordPiece): void {
    this.#reader?.pieceCame(piece);
  }

  #open(): LogReader {
    const base = this.#base;
    if (base === undefined) throw new UserError("there is no base here");
    this.#image ??= RamImage.open(this.#path, RAM_BLOCK, base.blocks, base.small);
    this.#reader ??= new LogReader(this.#shell, this.#image, base.base);
    return this.#reader;
  }

  /** One after the other, each time everything that was committed since: as many as there are, as fast as it goes. */
  #layOver(): void {
    // What was copied ahead is compared with the base as it stood: nothing is laid over it before.
    if (!this.#may_lay_over || !this.#more || this.#laying !== undefined || this.#base === undefined) return;
    if (this.#comparing) return;
    this.#more = false;
    this.#laying = this.#layOverOnce()
      .catch((error: unknown) => {
        // Whoever is silent says later that there is more.
        if (!(error instanceof EscrowSilentError))
          log(this.#shell, `a committed transaction was not laid over: ${messageOf(error)}`);
      })
      .finally(() => {
        this.#laying = undefined;
        this.#layOver();
      });
  }

  async #layOverOnce(): Promise<void> {
    writeFileSync(this.#touched_path, "");
    await this.#open().layOver(null, this.#shell.config.lease_ms * 2);
  }

  /**
   * Everything that makes transaction n, in the base's own file. Only what was not laid over before is still to come.
   * @throws UserError when the log has no such transaction, or the memory is not what its record says
   */
  async restore(n: number): Promise<RestoredMemory> {
    // From here on the base may become a running VM's memory at any moment: nothing is laid over it by itself.
    this.#restoring = true;
    this.#resume ||= this.#may_lay_over;
    this.#may_lay_over = false;
    try {
      return await this.#restore(n);
    } catch (error) {
      this.#goOnLaying();
      throw error;
    }
  }

  async #restore(n: number): Promise<RestoredMemory> {
    const reader = this.#open();
    await this.#laying?.catch(() => undefined);
    writeFileSync(this.#touched_path, "");
    const laid = await reader.layOver(n, this.#shell.config.lease_ms * 10);
    const { device_state, mark, acked, frames, parts, pages, modified_pages, digest } = laid;
    const small = this.#image?.small ?? [];
    return { device_state, small, mark, acked, frames, parts, pages, modified_pages, digest };
  }

  /** Nothing was made of it: the VM may go on elsewhere, and its records are laid over as before. */
  #goOnLaying(): void {
    this.#restoring = false;
    if (!this.#resume) return;
    this.#resume = false;
    this.#may_lay_over = true;
    this.#layOver();
  }

  /** @throws UserError where something was laid over the base: the package alone is not the VM any more */
  restorePackage(): { readonly small: readonly SmallBlock[] } {
    if (existsSync(this.#touched_path))
      throw new UserError("committed transactions were laid over the base: the package alone is not the VM any more");
    if (this.#base === undefined) throw new UserError("there is no base here");
    return { small: this.#base.small };
  }

  abortRestore(): void {
    this.#reader?.abandon();
    this.#reader = undefined;
    // What was laid over stays: it is said again by the next one. Which pages that are is not known any more.
    this.#image?.[Symbol.dispose]();
    this.#image = undefined;
    this.#goOnLaying();
  }
}
