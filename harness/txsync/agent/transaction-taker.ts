import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { messageOf } from "../../base/errors.ts";
import { type Action, type FrameNumber, type RecordHeader, transactionNumber } from "../core/index.ts";
import { type DirtyTracker, type FindMode, openTracker } from "../dirty/tracker.ts";
import { digestHex } from "../log/index.ts";
import type { BlockSize } from "../pages/page-map.ts";
import { pausedAs, Stopping } from "../transaction/stopping.ts";
import { isStoppable, takeTransaction } from "../transaction/take.ts";
import { bytesOf, type Transaction } from "../transaction/transaction.ts";
import { HeldOutput, type Stilling } from "./held-output.ts";
import { runs } from "./runs.ts";
import { log, type Shell, tellData } from "./shell.ts";
import { HOLD_MS_MAX, Throttle } from "./throttle.ts";
import type { VmProcess } from "./vm-process.ts";

type Take = Extract<Action, { kind: "takeTransaction" }>;

/** Some 2 ms, once in an epoch: it has the same processor time as what a guest that stands still waits for. */
const ABSORB_PAGES = 1024;
const SLOW_EVERY_MS = 1_000;
/** A record that takes so many epochs to be stored is too much for the log: the guest is slowed. */
const SLOW_EPOCHS = 10;
/** How often, and how long apart at first, it is tried to look at QEMU's memory before that is said to be impossible. */
const TRACKER_TRIES = 5;
const TRACKER_AGAIN_MS = 50;
/** And how long apart after that. */
const TRACKER_LATER_MS = 2_000;
/** What may wait to be learned: more is taken for changed, which costs no more than sending it. */
const LEARN_BYTES_MAX = 16 * 2 ** 20;
/** For `stop` and `cont` to be answered where the VM stands still for its output. */
const STOP_MS = 2_000;

/** The last transaction of a VM that leaves, and of which nothing has left yet: it stands still. */
export interface LastTaken {
  readonly vm: VmProcess;
  readonly transaction: Transaction;
  readonly mark: FrameNumber;
}

interface Taken {
  readonly transaction: Transaction;
  readonly blocks: readonly BlockSize[];
  readonly at_ms: number;
}

/** What a test replaces: how QEMU's memory is looked at, and how long one waits before it is tried again. */
export interface TakerParts {
  readonly open: (options: Parameters<typeof openTracker>[0]) => Promise<DirtyTracker>;
  readonly again_ms: number;
  readonly later_ms: number;
}

const REAL_PARTS: TakerParts = { open: openTracker, again_ms: TRACKER_AGAIN_MS, later_ms: TRACKER_LATER_MS };

/**
 * Takes transactions of the VM that runs here, one at a time: from `stop` until the spool is free again for the next one.
 * Which pages belong to a record is never kept here, but in pagescan's table, which forgets nothing: so a transaction
 * that is dropped, fails or is lost on the way costs its successor nothing but work.
 */
export class TransactionTaker implements Stilling {
  readonly #shell: Shell;
  /** Stops the VM where too much of its output waits. */
  readonly held: HeldOutput;
  #vm: VmProcess | undefined;
  #blocks: readonly BlockSize[] = [];
  #tracker: DirtyTracker | undefined;
  readonly #parts: TakerParts;
  /** The core was told that nothing can be taken. */
  #untrackable = false;
  #learning_bytes = 0;
  /** Everything that touches the tracker or its spool is done one after the other. */
  #queue: Promise<unknown> = Promise.resolve();
  #hung = false;
  /** It ran when it was last looked at, and was not stopped here since: where it stands, somebody else has paused it. */
  #ran: VmProcess | undefined;
  /** Which of the states that somebody else paused it in was told. */
  #told_paused: string | undefined;
  /** Whoever serves what a `stop` waits for was told that there is one. */
  #told_stopping = false;
  /** It came by no migration, or has completed it: the kernel notes what is written because we have told it to. */
  #outside = false;
  /** Done once, while the guest stands still for a transaction and after its pages were found. */
  #handover: (() => Promise<void>) | undefined;
  #taken: Taken | undefined;
  /** Whose pages lie in the spool: until the data plane has let go of them nothing else is taken. */
  #spooled: Taken | undefined;
  #told_slow_ms = Number.NEGATIVE_INFINITY;
  #absorbed_ms = Number.NEGATIVE_INFINITY;
  readonly #throttle: Throttle;
  #runs_since_ms = performance.now();
  /** What has to be done with the last one before anybody is told of it. What it throws is the take's. */
  onLast: (last: LastTaken) => Promise<void> = () => Promise.reject(new Error("this VM does not leave"));

  constructor(shell: Shell, parts: TakerParts = REAL_PARTS) {
    this.#shell = shell;
    this.held = new HeldOutput(shell, this);
    this.#parts = parts;
    this.#throttle = new Throttle({ slow_ms: SLOW_EPOCHS * shell.config.epoch_ms });
  }

  /** From now on transactions are taken of this QEMU. What an earlier life of the agent found is in pagescan's table. */
  follow(vm: VmProcess, blocks: readonly BlockSize[]): void {
    // Followed already: a helper that is opened anew begins with an empty spool, and a record may be on its way out of it.
    if (this.#vm === vm) return;
    this.#vm = vm;
    this.#told_paused = undefined;
    this.#blocks = blocks;
    this.#outside = false;
    void this.#inTurn(() => this.#open(vm));
  }

  /**
   * The same of a QEMU that came by no migration, or has completed it. When this settles every change is noted.
   * @returns the way in which; undefined where nobody can say what changes, which the core is told
   */
  async followRunning(vm: VmProcess, blocks: readonly BlockSize[]): Promise<FindMode | undefined> {
    const known = this.#vm === vm && this.#tracker?.gone === false;
    if (this.#vm !== vm) this.#told_paused = undefined;
    this.#vm = vm;
    this.#blocks = blocks;
    this.#outside = true;
    this.#handover = undefined;
    await this.#inTurn(async () => void (known ? await this.#tracker?.arm() : await this.#open(vm)));
    return this.#vm === vm ? this.#tracker?.mode : undefined;
  }

  /**
   * QEMU ends its migration, and with it its own tracking, while the guest stands still for the next transaction; ours goes
   * on where that ended, so nothing is missed.
   * @param end settles when QEMU says that its migration is over
   */
  handOver(end: () => Promise<void>): void {
    this.#handover = end;
  }

  async #open(vm: VmProcess): Promise<void> {
    await this.#close();
    for (let tries = 1; tries <= TRACKER_TRIES; tries += 1) {
      if (this.#vm !== vm || vm.gone) return;
      try {
        await this.#tryToOpen(vm);
        return;
      } catch (error) {
        const why = messageOf(error);
        log(this.#shell, `changed pages of QEMU cannot be found (try ${tries} of ${TRACKER_TRIES}): ${why}`);
        if (tries === TRACKER_TRIES) this.#cannot(vm, why);
        else await delay(this.#parts.again_ms * 2 ** tries);
      }
    }
  }

  async #tryToOpen(vm: VmProcess): Promise<void> {
    const { config, dispatch } = this.#shell;
    const tracker = await this.#parts.open({
      pagescan: config.pagescan,
      pid: vm.pid,
      blocks: await vm.blocks(),
      prefer: config.find,
      folder: vm.folder,
      shim_status_path: vm.shim_status_path,
      first: true,
    });
    tracker.onModeChange = (mode, because) => {
      this.#shell.emit({ kind: "run.note", text: `changed pages are now found the ${mode} way: ${because}` });
      tellData(this.#shell, "findsSurely", { on: mode === "sure" });
    };
    try {
      if (this.#outside) await tracker.arm();
    } catch (error) {
      await tracker[Symbol.asyncDispose]();
      throw error;
    }
    this.#tracker = tracker;
    tellData(this.#shell, "findsSurely", { on: tracker.mode === "sure" });
    if (!this.#untrackable) return;
    this.#untrackable = false;
    dispatch({ kind: "trackable" });
  }

  /** The VM runs, and nothing can be taken of it: the core has it protected by nothing, and that is said, once. */
  #cannot(vm: VmProcess, why: string): void {
    if (this.#vm !== vm || vm.gone) return;
    if (!this.#untrackable) this.#shell.dispatch({ kind: "untrackable", why });
    this.#untrackable = true;
    const again = (): Promise<void> =>
      this.#inTurn(async () => {
        if (this.#vm !== vm || vm.gone || this.#tracker !== undefined) return;
        // One try, and no line in the log: that it cannot be done has been said.
        await this.#tryToOpen(vm).catch((error: unknown) => this.#cannot(vm, messageOf(error)));
      });
    setTimeout(() => void again(), this.#parts.later_ms).unref();
  }

  /** Pages that arrived, for the sure way: the log has them with this content. */
  learn(block: string, first: number, content: Uint8Array): void {
    if (this.#learning_bytes > LEARN_BYTES_MAX) return;
    this.#learning_bytes += content.length;
    void this.#inTurn(async () => {
      this.#learning_bytes -= content.length;
      await this.#tracker?.learn(block, first, content);
    });
  }

  /**
   * Asked between two transactions, in which it stands because of us.
   * @returns in which state somebody else has the VM stand still; undefined where it runs, or does not say
   */
  async pausedByOthers(vm: VmProcess): Promise<string | undefined> {
    let paused: string | undefined;
    await this.#inTurn(async () => {
      if (this.#hung || this.held.standing === vm) return;
      paused = pausedAs(await vm.qmp.execute("query-status", undefined, { timeout_ms: STOP_MS }));
    });
    return paused;
  }

  /**
   * Stops the VM for as long as nobody lets it run, where that is safe; transactions of it are taken as it stands. One that
   * somebody else has paused puts nothing out, and is not ours to let run.
   */
  async hold(vm: VmProcess, wanted: () => boolean, stands: () => void): Promise<void> {
    await this.#inTurn(async () => {
      if (this.#vm !== vm || this.#hung || !isStoppable(this.#status(vm)) || !wanted()) return;
      this.#stopping(true);
      using stopping = new Stopping({ qmp: vm.qmp, timeout_ms: STOP_MS, ...this.#looksAt(vm) });
      try {
        await stopping.stands;
      } catch (error) {
        // As for a transaction: it may take effect late, and nobody would know.
        this.#waitFor(stopping.release());
        throw error;
      } finally {
        if (!this.#hung) this.#stopping(false);
      }
      if (stopping.stood) {
        this.#ran = vm;
        return;
      }
      stands();
    });
  }

  async letRun(vm: VmProcess, runs: () => void): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    void this.#inTurn(async () => {
      await vm.qmp.execute("cont", undefined, { timeout_ms: STOP_MS }).then(() => {
        this.#runs_since_ms = performance.now();
        this.#ran = vm;
        runs();
        resolve();
      }, reject);
    });
    await promise;
  }

  /** What is known of who stops this VM; until that is over nothing is. */
  #looksAt(vm: VmProcess): { readonly ran: boolean; readonly onLeft: () => void } {
    const ran = this.#ran === vm;
    this.#ran = undefined;
    return {
      ran,
      onLeft: () => {
        this.#ran = vm;
      },
    };
  }

  /** A `stop` that hangs: until QEMU has answered what was asked after it nothing else is asked. */
  #waitFor(released: Promise<unknown>): void {
    this.#hung = true;
    void released
      .catch(() => undefined)
      .then(() => {
        this.#hung = false;
        this.#stopping(false);
      });
  }

  /** What a `stop` waits for must not wait for a transaction: as long as it is not over, be that after all patience. */
  #stopping(on: boolean): void {
    if (this.#told_stopping === on) return;
    this.#told_stopping = on;
    for (const part of this.#shell.parts) part.stopping?.(on);
  }

  /** Without a migration there is no page that a `stop` could wait for. */
  #status(vm: VmProcess): string {
    return this.#outside ? "completed" : vm.migration;
  }

  take(action: Take): void {
    void this.#inTurn(() => this.#take(action));
  }

  async #take({ generation, n, since, last: is_last }: Take): Promise<void> {
    const last = is_last === true;
    const { dispatch, emit, output, parts, state } = this.#shell;
    const failed = (why: string | undefined): void => {
      if (why !== undefined) log(this.#shell, `transaction ${n} was not taken: ${why}`);
      dispatch({ kind: "transactionFailed", generation, n });
    };
    const vm = this.#vm;
    // Its helper has ended: what that one knew is in its table, for the next one.
    if (vm !== undefined && this.#tracker?.gone === true) await this.#open(vm);
    const tracker = this.#tracker;
    // What was asked for before the VM was another's, or while nothing can be taken: at the next epoch again.
    const { opened, tx } = state();
    const still = opened.generation === generation && tx.stage === "taking" && tx.next === n;
    if (!still || vm === undefined || tracker === undefined || this.#hung || this.#shell.machine().hold)
      return failed(undefined);
    try {
      await this.#free(this.#spooled);
      let mark = output.produced;
      this.#stopping(true);
      // It stands still for its output, and is not to run for this.
      const stood = this.held.standing === vm;
      const looks = this.#looksAt(vm);
      const outcome = await takeTransaction({
        qmp: vm.qmp,
        tracker,
        generation,
        n,
        since,
        hold_ms: last || stood ? 0 : this.#throttle.hold_ms(performance.now() - this.#runs_since_ms),
        stays: last,
        stood,
        ...looks,
        status: () => this.#status(vm),
        beside: async () => {
          for (const part of parts) await part.capture(n);
        },
        whileStill: (stopping) => this.#handOver(tracker, stopping),
        state_path: join(vm.folder, "device-state"),
        ...output.toDrain,
        onStill: () => {
          mark = output.still();
        },
        onResumed: () => {
          this.#runs_since_ms = performance.now();
          // A guest that runs has no more room than ever, however long what was found is collected.
          this.#stopping(false);
        },
      });
      if (outcome.kind === "refused") {
        if (looks.ran) looks.onLeft();
        return failed(`the migration is ${outcome.status}`);
      }
      if (outcome.kind === "stop-hung") {
        this.#waitFor(outcome.released);
        return failed(`QEMU did not stop within ${outcome.waited_ms} ms`);
      }
      const { transaction } = outcome;
      this.#sayPaused(outcome.stood);
      if (last) await this.#leave({ vm, transaction, mark });
      this.#taken = { transaction, blocks: this.#blocks, at_ms: performance.now() };
      this.#spooled = this.#taken;
      const { collect_ms: _, ...timings } = transaction.timings;
      emit({
        kind: "tx.taken",
        generation,
        n,
        pages: transaction.spool.pages,
        bytes: bytesOf(transaction),
        ...timings,
      });
      dispatch({ kind: "transactionTaken", generation, n, mark });
    } catch (error) {
      failed(messageOf(error));
      return;
    } finally {
      if (!this.#hung) this.#stopping(false);
    }
    // Not absorbed, it is sent as if it had changed if the way changes.
    const now_ms = performance.now();
    if (tracker.mode !== "quick" || last || now_ms - this.#absorbed_ms < this.#shell.config.epoch_ms) return;
    this.#absorbed_ms = now_ms;
    await tracker.absorb(ABSORB_PAGES);
  }

  /** Somebody else has paused the VM, or lets it run again: said once. */
  #sayPaused(as: string | undefined): void {
    if (this.#told_paused === as) return;
    this.#told_paused = as;
    const text =
      as === undefined
        ? "the VM is not paused any more"
        : `the VM was paused (${as}), and not by an agent: transactions are taken of it as it stands, and nobody here lets it run`;
    this.#shell.emit({ kind: "run.note", text });
  }

  async #leave(last: LastTaken): Promise<void> {
    try {
      await this.onLast(last);
    } catch (error) {
      await this.#tracker?.release();
      await runs(last.vm);
      throw error;
    }
  }

  async #handOver(tracker: DirtyTracker, stopping: Pick<Stopping, "undisturbed">): Promise<void> {
    const end = this.#handover;
    if (end === undefined) return;
    await end();
    this.#handover = undefined;
    const { mode } = await tracker.arm("still");
    this.#outside = true;
    if (mode !== "quick" || (await stopping.undisturbed())) return;
    // Somebody let it run between the two: what it has written since nobody has noted.
    await tracker.disarm();
    await tracker.arm("running");
  }

  /** The core wants this record to go to the escrow, for the first time or again. */
  send(header: RecordHeader): void {
    const taken = this.#taken;
    if (taken === undefined || taken.transaction.n !== header.n || taken.transaction.generation !== header.generation)
      return;
    const { transaction, blocks } = taken;
    const { generation, n, since, mark, acked } = header;
    // It would lack pages. More than are needed do no harm.
    if (transaction.since !== "base" && (since === "base" || transaction.since > since)) return;
    const { device_state, spool, digest, modified_pages } = transaction;
    tellData(this.#shell, "sendRecord", {
      header: { generation, n, since, mark, acked },
      blocks: spool.blocks.map((name) => ({ name, bytes: blocks.find((block) => block.name === name)?.bytes ?? 0 })),
      device_state,
      frames: this.#shell.output.frames(acked + 1, mark),
      parts: this.#shell.parts.flatMap((part) => part.pieces(n, since)),
      spool,
      digest: digestHex(digest.lane1, digest.lane2),
      modified_pages,
    });
  }

  /** It is committed, or never will be: the spool is free for the next one. */
  forget(generation: number, n: number): void {
    const taken = this.#taken;
    if (taken?.transaction.n !== n || taken.transaction.generation !== generation) return;
    this.#taken = undefined;
    void this.#inTurn(() => this.#free(taken));
  }

  /** Nobody reads these pages any more when this returns; a spool that has others by now is left alone. */
  async #free(taken: Taken | undefined): Promise<void> {
    if (taken === undefined || this.#spooled !== taken) return;
    if (this.#taken === taken) this.#taken = undefined;
    await this.#shell.data.ask("dropRecord", {});
    await this.#tracker?.release();
    this.#spooled = undefined;
  }

  committed(generation: number, n: number): void {
    const { emit, config, parts } = this.#shell;
    for (const part of parts) part.committed(transactionNumber(n));
    const taken = this.#taken;
    const now_ms = performance.now();
    const latency_ms = taken?.transaction.n === n ? now_ms - taken.at_ms : 0;
    emit({ kind: "tx.committed", generation, n, latency_ms });
    if (taken?.transaction.n === n && this.#throttle.stored(latency_ms)) {
      const share = Math.round(this.#throttle.share * 100);
      const text = `the guest is held back ${share} % of its time, ${HOLD_MS_MAX} ms a transaction at most: it writes more than the log takes`;
      emit({ kind: "run.note", text });
    }
    // One transaction is under way at a time: an escrow that is slow stretches the epochs, and that is said.
    if (latency_ms < 2 * config.epoch_ms || now_ms - this.#told_slow_ms < SLOW_EVERY_MS) return;
    this.#told_slow_ms = now_ms;
    const text = `epochs stretch: transaction ${n} took ${Math.round(latency_ms)} ms to be stored`;
    emit({ kind: "run.note", text });
  }

  /** Nothing is taken any more. */
  stop(): void {
    this.#vm = undefined;
    this.#taken = undefined;
    // The helper ends whatever the data plane says: the QEMU that it looks at is not ours any more.
    void this.#inTurn(() => this.#close());
    tellData(this.#shell, "dropRecord", {});
  }

  async #close(): Promise<void> {
    const tracker = this.#tracker;
    this.#tracker = undefined;
    try {
      await tracker?.[Symbol.asyncDispose]();
    } catch {
      // It has ended by itself.
    }
  }

  /** Settles when nothing is under way any more. */
  async idle(): Promise<void> {
    for (let last: unknown; last !== this.#queue; ) {
      last = this.#queue;
      await this.#queue;
    }
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    const turn = this.#queue.then(work).catch((error: unknown) => log(this.#shell, messageOf(error)));
    this.#queue = turn;
    return turn;
  }
}
