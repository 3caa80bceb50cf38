import { join } from "node:path";
import { messageOf } from "../../base/errors.ts";
import { PAGE_BYTES } from "../../base/page.ts";
import { waitFor } from "../../base/wait.ts";
import { enablePostcopy } from "../../qemu/migration-api.ts";
import type { Action, Generation, Message, PageRoute, Role, TransactionNumber } from "../core/index.ts";
import { isOwner } from "../core/index.ts";
import type { PageSet } from "../dirty/pages.ts";
import { pageSetOf } from "../dirty/spool.ts";
import { openTracker, type PagescanTracker } from "../dirty/tracker.ts";
import { encodeRecord } from "../log/index.ts";
import { PageFetcher } from "../pages/fetcher.ts";
import type { Note } from "../pages/notes.ts";
import { decodePages, encodeRequest, type PageRequest } from "../pages/page-frames.ts";
import { PageMap } from "../pages/page-map.ts";
import { pagesIn, TargetFeed } from "../relay/feed.ts";
import { takeTransaction } from "../transaction/take.ts";
import { bytesOf, type Transaction } from "../transaction/transaction.ts";
import { decodePackage, loadPackage, type Package, savePackage } from "./kept-package.ts";
import type { VmProcess } from "./machine.ts";
import type { Shell } from "./shell.ts";
import { sendTargetPages } from "./target-pages.ts";

type BaseHeld = Extract<Note, { kind: "base-held" }>;
type Append = Extract<Message, { kind: "append" }>;
type Take = Extract<Action, { kind: "takeTransaction" }>;

const SHARE_UNTIL_COVERED = 0.5;
const TICK_MS = 2;
/** What is under way at a time: enough for the way there and back where a processor is shared by three agents. */
const WINDOW_PAGES = 256;
const RETRY_MS = 150;
/** A source that sends nothing for so long is not the only one to be asked for what a vCPU waits for. */
const SILENT_MS = 40;
const ABSORB_PAGES = 8192;
const ALL_PAGES_PING = 0x4645_7272;
const LOADED_PING = 0x4645_7273;
const PROGRESS_EVERY_MS = 20;
const PAUSED_MS = 5_000;
const SLOW_EVERY_MS = 1_000;

/** The target's part: feeds QEMU the stream, gets it its pages, and takes transactions. */
export class TargetSide {
  readonly #shell: Shell;
  #package: Package | undefined;
  #incoming: Package | undefined;
  #map: PageMap | undefined;
  #fetcher: PageFetcher | undefined;
  #feed: TargetFeed | undefined;
  #ticking: NodeJS.Timeout | undefined;
  #route: PageRoute = "direct";
  #source_heard_ms = 0;
  #tracker: { readonly vm: VmProcess; readonly tracker: PagescanTracker } | undefined;
  #opening: Promise<PagescanTracker> | undefined;
  /** The transaction that was asked for last, and the turn of the one before it. */
  #asked: Take | undefined;
  #turn: Promise<void> = Promise.resolve();
  #hung = false;
  #asked_all = false;
  #ended = false;
  #told_ms = 0;
  #told_slow_ms = Number.NEGATIVE_INFINITY;
  #covered = false;
  #held: BaseHeld | undefined;
  #taken: { readonly transaction: Transaction; readonly pages: PageSet; readonly at_ms: number } | undefined;
  #record: { readonly n: number; readonly generation: number; readonly pieces: Uint8Array[] } | undefined;

  constructor(shell: Shell) {
    this.#shell = shell;
    this.#package = loadPackage(shell.config.memory_folder)?.package;
  }

  /** The package that was loaded here, in this life of the agent or an earlier one. */
  get package(): Package | undefined {
    return this.#package;
  }

  // ---- the package

  /** The bytes of a package that the core may decide to load. */
  packageCame(body: Buffer): void {
    this.#incoming = decodePackage(body);
  }

  async load(): Promise<void> {
    const { slot, dispatch, config, emit } = this.#shell;
    const vm = slot.vm;
    const what = this.#incoming;
    if (vm === undefined || what === undefined) {
      dispatch({ kind: "qemuGone" });
      return;
    }
    try {
      savePackage(config.memory_folder, { package: what, small: [] });
      this.#package = what;
      let running = false;
      vm.on((event) => {
        if (event.kind !== "resume" || running) return;
        running = true;
        emit({ kind: "migration.step", step: "target-running" });
        dispatch({ kind: "vmRunning" });
        this.#trackerOf(vm).catch(() => undefined);
      });
      await enablePostcopy(vm.qmp);
      await vm.qmp.executeRaw("migrate-incoming", { uri: `unix:${vm.incoming_path}` });
      const feed = await this.#connect(vm, vm.incoming_path, what);
      this.#begin(vm, feed, new PageMap(what.blocks));
      feed.write(what.preamble);
      feed.write(what.packaged);
      if (this.#shell.machine().hold) feed.ping(LOADED_PING);
    } catch (error) {
      // A QEMU that did not take the package is of no use any more; its end tells the core.
      emit({ kind: "log", stream: "agent", line: `the package was not loaded: ${messageOf(error)}` });
      await slot.kill();
      dispatch({ kind: "qemuGone" });
    }
  }

  async #connect(vm: VmProcess, path: string, what: Package): Promise<TargetFeed> {
    return await TargetFeed.connect(path, {
      ram_section_id: what.ram_section_id,
      blocks: what.blocks,
      onPong: (value) => {
        if (value === ALL_PAGES_PING) this.#shell.dispatch({ kind: "allPagesArrived" });
        // Held still it never says that it runs.
        if (value === LOADED_PING) this.#shell.dispatch({ kind: "vmRunning" });
      },
      onClosed: (why) => {
        if (this.#shell.slot.vm !== vm || vm.gone || this.#ended) return;
        this.#shell.emit({ kind: "log", stream: "agent", line: `QEMU's migration connection is gone: ${why}` });
        if (this.#shell.state().vm === "running") void this.recover(vm);
      },
    });
  }

  #begin(vm: VmProcess, feed: TargetFeed, map: PageMap): void {
    this.#feed = feed;
    this.#map = map;
    this.#asked_all = false;
    this.#ended = false;
    this.#source_heard_ms = performance.now();
    const rate = this.#package?.bytes_per_s ?? 0;
    const fetcher = new PageFetcher({
      map,
      order: "ascending",
      window_pages: WINDOW_PAGES,
      bytes_per_s: rate,
      retry_ms: RETRY_MS,
      wanted_retry_ms: SILENT_MS,
      ask: (runs, urgent) => this.#ask(runs, urgent),
      deliver: (block, first, pages) => {
        feed.writePages(pages.map((bytes, i) => ({ block, page: first + i, bytes })));
        if (this.#tracker?.tracker.mode === "sure") this.#learn(block, first, pages);
      },
      full: () => feed.full,
    });
    this.#fetcher = fetcher;
    this.#setShare();
    feed.onRequest = (run) => fetcher.want(run, performance.now());
    clearInterval(this.#ticking);
    this.#ticking = setInterval(() => this.#tick(vm), TICK_MS);
  }

  /** The sure way has to know what the log has: the base, as it came. */
  #learn(block: string, first: number, pages: readonly (Uint8Array | null)[]): void {
    const content = Buffer.concat(pages.map((bytes) => bytes ?? Buffer.alloc(PAGE_BYTES)));
    // Not learnt, it is sent as if it had changed.
    this.#tracker?.tracker.learn(block, first, content).catch(() => undefined);
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

  #tick(vm: VmProcess): void {
    const now_ms = performance.now();
    if (this.#shell.slot.vm !== vm || vm.gone) {
      clearInterval(this.#ticking);
      return;
    }
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

  // ---- pages

  pagesCame(from: Role, payload: Buffer): void {
    const answer = decodePages(payload);
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
    this.#shell.dispatch({ kind: "baseCovered", covered });
  }

  /** Until the base would survive the source's host the push leaves room for the escrow's copy: that is the danger. */
  #setShare(): void {
    if (this.#fetcher !== undefined) this.#fetcher.share = this.#covered ? 1 : SHARE_UNTIL_COVERED;
  }

  // ---- the end

  /** After every step of the core: the migration ends when the VM is handed off. */
  afterStep(): void {
    const state = this.#shell.state();
    const handed = state.vm === "running" && state.allPages && isOwner(state) && state.opened.mode === "final";
    if (!handed || this.#ended || this.#feed === undefined) return;
    this.#ended = true;
    this.#shell.emit({ kind: "handoff", generation: state.opened.generation, n: state.tx.next - 1 });
    this.#feed.end();
    void this.#closeTracker();
  }

  // ---- an agent that comes back

  /**
   * The connection to QEMU is gone, with the agent that had it or otherwise: QEMU pauses the migration, and its own
   * recovery handshake says which pages it has.
   */
  async recover(vm: VmProcess): Promise<void> {
    const { emit, dispatch, slot } = this.#shell;
    const what = this.#package;
    if (what === undefined) return;
    try {
      emit({ kind: "migration.step", step: "recovering" });
      const status = await waitFor(
        { what: "QEMU to pause the migration", timeout_ms: PAUSED_MS, interval_ms: 2 },
        () => (["postcopy-paused", "completed"].includes(vm.migration) ? vm.migration : undefined),
      );
      if (status === "completed") {
        dispatch({ kind: "allPagesArrived" });
        this.#ended = true;
        return;
      }
      const path = join(vm.folder, `in-${Math.round(performance.now())}-${process.pid}`);
      await waitFor({ what: "QEMU to listen for the recovery", timeout_ms: PAUSED_MS, interval_ms: 20 }, async () => {
        try {
          await vm.oob.executeRaw("migrate-recover", { uri: `unix:${path}` }, { oob: true });
          return true;
        } catch {
          return undefined;
        }
      });
      const feed = await this.#connect(vm, path, what);
      const received = await feed.recover();
      const map = new PageMap(what.blocks);
      for (const [block, bitmap] of received) {
        for (const page of pagesIn(bitmap)) if (map.knows(block, page)) map.add(block, page);
      }
      this.#begin(vm, feed, map);
      emit({ kind: "run.note", text: `QEMU goes on with ${map.count} of ${map.pages_total} pages after a recovery` });
      await this.#trackerOf(vm);
    } catch (error) {
      emit({ kind: "log", stream: "agent", line: `the migration was not resumed: ${messageOf(error)}` });
      if (slot.vm !== vm) return;
      await slot.kill();
      dispatch({ kind: "qemuGone" });
    }
  }

  // ---- transactions

  /** The tracker of this VM. Another one is opened where its helper has ended: what that one knew is in its table. */
  async #trackerOf(vm: VmProcess): Promise<PagescanTracker> {
    const open = this.#tracker;
    if (open?.vm === vm && !open.tracker.gone) return open.tracker;
    this.#opening ??= this.#openTracker(vm).finally(() => {
      this.#opening = undefined;
    });
    return await this.#opening;
  }

  async #openTracker(vm: VmProcess): Promise<PagescanTracker> {
    const { config, emit } = this.#shell;
    await this.#closeTracker();
    const tracker = await openTracker({
      pagescan: config.pagescan,
      pid: vm.pid,
      blocks: await vm.blocks(),
      prefer: config.find,
      folder: vm.folder,
      shim_status_path: vm.shim_status_path,
    });
    tracker.onModeChange = (mode, why) =>
      emit({ kind: "run.note", text: `changed pages are now found the ${mode} way: ${why}` });
    this.#tracker = { vm, tracker };
    return tracker;
  }

  async #closeTracker(): Promise<void> {
    const tracker = this.#tracker?.tracker;
    this.#tracker = undefined;
    await tracker?.[Symbol.asyncDispose]().catch(() => undefined);
  }

  /**
   * One after the other: a transaction is taken, settled and handed over before the next one is begun, and of those that
   * wait meanwhile only the last one is still wanted. Nothing else need be kept out of a take, because nothing else can
   * change what is in a record: a transaction that is dropped, before or after it is whole, leaves its pages with a
   * number that is greater than the next one's `since`; what arrives is learnt only of pages without a number; a new
   * generation is one more take; the mode changes within a take; and the table outlives helper and agent.
   */
  async take(asked: Take): Promise<void> {
    this.#asked = asked;
    const turn = this.#turn.then(async () => {
      if (this.#asked === asked) await this.#take(asked);
    });
    this.#turn = turn;
    await turn;
  }

  async #take(asked: Take): Promise<void> {
    const { generation, n, since } = asked;
    const { slot, dispatch, emit, output } = this.#shell;
    const failed = (why: string): void => {
      emit({ kind: "log", stream: "agent", line: `transaction ${n} was not taken: ${why}` });
      // The core waits for the one that was asked for last.
      if (this.#asked === asked) dispatch({ kind: "transactionFailed", generation, n });
    };
    const vm = slot.vm;
    if (vm === undefined || this.#hung || this.#ended || this.#shell.machine().hold) {
      // At the next epoch again.
      dispatch({ kind: "transactionFailed", generation, n });
      return;
    }
    try {
      const tracker = await this.#trackerOf(vm);
      let mark = output.produced;
      const outcome = await takeTransaction({
        qmp: vm.qmp,
        tracker,
        generation,
        n,
        since,
        status: () => vm.migration,
        state_path: join(vm.folder, "device-state"),
        onStill: () => {
          mark = output.look();
        },
      });
      if (outcome.kind === "refused") return failed(`the migration is ${outcome.status}`);
      if (outcome.kind === "stop-hung") {
        this.#hung = true;
        void outcome.released
          .catch(() => undefined)
          .then(() => {
            this.#hung = false;
          });
        return failed(`QEMU did not stop within ${outcome.waited_ms} ms`);
      }
      const { transaction } = outcome;
      const pages = await pageSetOf(transaction.spool).finally(() => tracker.release());
      this.#taken = { transaction, pages, at_ms: performance.now() };
      const { collect_ms: _, ...timings } = transaction.timings;
      const [count, bytes] = [transaction.spool.pages, bytesOf(transaction)];
      emit({ kind: "tx.taken", generation, n, pages: count, bytes, ...timings });
      dispatch({ kind: "transactionTaken", generation, n, mark });
      await tracker.absorb(ABSORB_PAGES);
    } catch (error) {
      failed(messageOf(error));
    }
  }

  dropRecord(n: TransactionNumber): void {
    if (this.#record?.n === n) this.#record = undefined;
  }

  /** The bytes of an `append`: the same ones when it is sent again. */
  recordOf(message: Append): Uint8Array[] | undefined {
    const { generation, n, since, mark, acked } = message;
    if (this.#record?.n === n && this.#record.generation === generation) return this.#record.pieces;
    const { transaction: taken, pages } = this.#taken ?? {};
    if (taken === undefined || pages === undefined) return undefined;
    if (taken.n !== n || taken.generation !== generation) return undefined;
    // It would lack pages. More than are needed do no harm.
    if (taken.since !== "base" && (since === "base" || taken.since > since)) return undefined;
    const blocks = (this.#package?.blocks ?? []).map(({ name, bytes }) => ({ name, size: bytes }));
    const numbers = new Map(blocks.map(({ name }, i) => [name, i]));
    const pieces = encodeRecord({
      generation,
      n,
      since,
      mark,
      acked,
      blocks,
      pages: [...pages].map(({ block, page, bytes }) => ({ block: numbers.get(block) ?? 0, page, bytes })),
      device_state: taken.device_state,
      frames: this.#shell.output.frames(acked + 1, mark),
    });
    this.#record = { n, generation, pieces };
    return pieces;
  }

  committed(generation: Generation, n: TransactionNumber): void {
    const taken = this.#taken;
    const latency_ms = taken?.transaction.n === n ? performance.now() - taken.at_ms : 0;
    this.#shell.emit({ kind: "tx.committed", generation, n, latency_ms });
    this.#tellSlow(n, latency_ms);
    this.#record = undefined;
    this.#taken = undefined;
  }

  /** One transaction is under way at a time: an escrow that is slow stretches the epochs, and that is said. */
  #tellSlow(n: TransactionNumber, latency_ms: number): void {
    const now_ms = performance.now();
    if (latency_ms < 2 * this.#shell.config.epoch_ms || now_ms - this.#told_slow_ms < SLOW_EVERY_MS) return;
    this.#told_slow_ms = now_ms;
    const text = `epochs stretch: transaction ${n} took ${Math.round(latency_ms)} ms to be stored`;
    this.#shell.emit({ kind: "run.note", text });
  }

  /** The VM here is not ours to feed any more. */
  async stop(): Promise<void> {
    clearInterval(this.#ticking);
    this.#feed?.[Symbol.dispose]();
    this.#feed = undefined;
    this.#fetcher = undefined;
    await this.#closeTracker();
  }
}
