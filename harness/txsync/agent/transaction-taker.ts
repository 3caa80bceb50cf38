import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { messageOf } from "../../base/errors.ts";
import type { Action, RecordHeader } from "../core/index.ts";
import { openTracker, type PagescanTracker } from "../dirty/tracker.ts";
import { digestHex } from "../log/index.ts";
import type { BlockSize } from "../pages/page-map.ts";
import { takeTransaction } from "../transaction/take.ts";
import { bytesOf, type Transaction } from "../transaction/transaction.ts";
import { log, type Shell, tellData } from "./shell.ts";
import { Throttle } from "./throttle.ts";
import type { VmProcess } from "./vm-process.ts";

type Take = Extract<Action, { kind: "takeTransaction" }>;

const ABSORB_PAGES = 8192;
const SLOW_EVERY_MS = 1_000;
/** A record that takes so many epochs to be stored is too much for the log: the guest is slowed. */
const SLOW_EPOCHS = 10;
/** How often, and how long apart at first, it is tried to look at QEMU's memory before that is said to be impossible. */
const TRACKER_TRIES = 5;
const TRACKER_AGAIN_MS = 50;

interface Taken {
  readonly transaction: Transaction;
  readonly blocks: readonly BlockSize[];
  readonly at_ms: number;
}

/**
 * Takes transactions of the VM that runs here, one at a time: from `stop` until the spool is free again for the next one.
 * Which pages belong to a record is never kept here, but in pagescan's table, which forgets nothing: so a transaction
 * that is dropped, fails or is lost on the way costs its successor nothing but work.
 */
export class TransactionTaker {
  readonly #shell: Shell;
  #vm: VmProcess | undefined;
  #blocks: readonly BlockSize[] = [];
  #tracker: PagescanTracker | undefined;
  /** Everything that touches the tracker or its spool is done one after the other. */
  #queue: Promise<unknown> = Promise.resolve();
  #hung = false;
  #taken: Taken | undefined;
  #told_slow_ms = Number.NEGATIVE_INFINITY;
  readonly #throttle: Throttle;
  #runs_since_ms = performance.now();

  constructor(shell: Shell) {
    this.#shell = shell;
    this.#throttle = new Throttle({ slow_ms: SLOW_EPOCHS * shell.config.epoch_ms });
  }

  /** From now on transactions are taken of this QEMU. What an earlier life of the agent found is in pagescan's table. */
  follow(vm: VmProcess, blocks: readonly BlockSize[]): void {
    this.#vm = vm;
    this.#blocks = blocks;
    void this.#inTurn(() => this.#open(vm));
  }

  async #open(vm: VmProcess): Promise<void> {
    const { config, dispatch } = this.#shell;
    await this.#close();
    let why = "";
    for (let tries = 1; tries <= TRACKER_TRIES; tries += 1) {
      if (this.#vm !== vm || vm.gone) return;
      try {
        const tracker = await openTracker({
          pagescan: config.pagescan,
          pid: vm.pid,
          blocks: await vm.blocks(),
          prefer: config.find,
          folder: vm.folder,
          shim_status_path: vm.shim_status_path,
        });
        this.#tracker = tracker;
        tracker.onModeChange = (mode, because) => {
          this.#shell.emit({ kind: "run.note", text: `changed pages are now found the ${mode} way: ${because}` });
          tellData(this.#shell, "tellArrived", { on: mode === "sure" });
        };
        tellData(this.#shell, "tellArrived", { on: tracker.mode === "sure" });
        if (tries > 1) dispatch({ kind: "trackable" });
        return;
      } catch (error) {
        why = messageOf(error);
        log(this.#shell, `changed pages of QEMU cannot be found (try ${tries} of ${TRACKER_TRIES}): ${why}`);
        await delay(TRACKER_AGAIN_MS * 2 ** tries);
      }
    }
    // The VM runs, and nothing can be taken of it: the core has it protected by nothing, and that is said.
    if (this.#vm === vm && !vm.gone) dispatch({ kind: "untrackable", why });
  }

  /** Pages that arrived, for the sure way: the log has them with this content. */
  learn(block: string, first: number, content: Uint8Array): void {
    void this.#inTurn(async () => {
      await this.#tracker?.learn(block, first, content);
    });
  }

  take(action: Take): void {
    void this.#inTurn(() => this.#take(action));
  }

  async #take({ generation, n, since }: Take): Promise<void> {
    const { dispatch, emit, output, state } = this.#shell;
    const failed = (why: string | undefined): void => {
      if (why !== undefined) log(this.#shell, `transaction ${n} was not taken: ${why}`);
      dispatch({ kind: "transactionFailed", generation, n });
    };
    const vm = this.#vm;
    // Its helper has ended: what that one knew is in its table, for the next one.
    if (vm !== undefined && this.#tracker?.gone === true) await this.#open(vm);
    const tracker = this.#tracker;
    // What was asked for before the VM was another's, or while nothing can be taken: at the next epoch again.
    const still = state().opened.generation === generation && state().tx.stage === "taking";
    if (!still || vm === undefined || tracker === undefined || this.#hung || this.#shell.machine().hold)
      return failed(undefined);
    try {
      let mark = output.produced;
      const outcome = await takeTransaction({
        qmp: vm.qmp,
        tracker,
        generation,
        n,
        since,
        hold_ms: this.#throttle.hold_ms(performance.now() - this.#runs_since_ms),
        status: () => vm.migration,
        state_path: join(vm.folder, "device-state"),
        onStill: () => {
          mark = output.look();
        },
        onResumed: () => {
          this.#runs_since_ms = performance.now();
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
      this.#taken = { transaction, blocks: this.#blocks, at_ms: performance.now() };
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
    }
    // Not absorbed, it is sent as if it had changed if the way changes.
    if (tracker.mode === "quick") await tracker.absorb(ABSORB_PAGES);
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
      spool,
      digest: digestHex(digest.lane1, digest.lane2),
      modified_pages,
    });
  }

  /** It is committed, or never will be: the spool is free for the next one. */
  forget(n: number): void {
    if (this.#taken?.transaction.n !== n) return;
    this.#taken = undefined;
    void this.#inTurn(async () => {
      await this.#shell.data.ask("dropRecord", {});
      await this.#tracker?.release();
    });
  }

  committed(generation: number, n: number): void {
    const { emit, config } = this.#shell;
    const taken = this.#taken;
    const now_ms = performance.now();
    const latency_ms = taken?.transaction.n === n ? now_ms - taken.at_ms : 0;
    emit({ kind: "tx.committed", generation, n, latency_ms });
    if (taken?.transaction.n === n && this.#throttle.stored(latency_ms)) {
      const text = `the guest is held back ${Math.round(this.#throttle.share * 100)} % of its time: it writes more than the log takes`;
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
    void this.#inTurn(async () => {
      await this.#shell.data.ask("dropRecord", {});
      await this.#close();
    });
  }

  async #close(): Promise<void> {
    const tracker = this.#tracker;
    this.#tracker = undefined;
    await tracker?.[Symbol.asyncDispose]().catch(() => undefined);
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    const turn = this.#queue.then(work).catch((error: unknown) => log(this.#shell, messageOf(error)));
    this.#queue = turn;
    return turn;
  }
}
