import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { messageOf } from "../../base/errors.ts";
import { waitFor } from "../../base/wait.ts";
import { enablePostcopy } from "../../qemu/migration-api.ts";
import type { PageRoute } from "../core/index.ts";
import { isOwner } from "../core/index.ts";
import { type AheadOffer, decodePackage, loadPackage, type Package, savePackage } from "../data/index.ts";
import type { OutputFrame } from "../log/index.ts";
import { log, type Shell, tellData } from "./shell.ts";
import type { TransactionTaker } from "./transaction-taker.ts";
import type { VmProcess } from "./vm-process.ts";

/** QEMU reports a broken connection, and listens for the recovery, at once: this bounds one step, not the work. */
const PAUSED_MS = 5_000;
/** All pages have been placed: what is left is one message and QEMU's own tidying. */
const ENDED_MS = 2_000;
/** A recovery after which no page has come is not worth another one at once: its host may have no room for any. */
const VAIN_AGAIN_MS = 25;
const VAIN_MOST_MS = 500;

/** The target's part of the control plane: has QEMU load the package, recovers its stream, ends it at the handoff. */
export class TargetSide {
  readonly #shell: Shell;
  readonly #taker: Pick<TransactionTaker, "follow" | "followRunning" | "handOver" | "stop">;
  #package: Package | undefined;
  #incoming: Package | undefined;
  /** The QEMU whose stream the data plane has. */
  #fed: VmProcess | undefined;
  #ended = false;
  /** QEMU is being spoken to again: there is no stream that could be ended before it answers. */
  #recovering = false;
  /** The QEMU that memory is to come ahead for, and when it listens. */
  #prepared: VmProcess | undefined;
  #listens = Promise.withResolvers<void>();
  #said = "";
  /** How many pages there were at the last recovery, and how long to wait where the next one finds no more. */
  #vain: { readonly count: number; readonly wait_ms: number } | undefined;
  readonly #wait: (wait_ms: number) => Promise<unknown>;
  #base_known: string | undefined;

  /** @param wait what a test replaces: how one waits between recoveries that bring nothing */
  constructor(
    shell: Shell,
    taker: Pick<TransactionTaker, "follow" | "followRunning" | "handOver" | "stop">,
    wait: (wait_ms: number) => Promise<unknown> = delay,
  ) {
    this.#shell = shell;
    this.#wait = wait;
    this.#taker = taker;
    this.#package = loadPackage(shell.config.memory_folder)?.package;
  }

  /** The package that was loaded here, in this life of the agent or an earlier one. */
  get package(): Package | undefined {
    return this.#package;
  }

  /** The bytes of a package that the core may decide to load. */
  packageCame(body: Buffer): void {
    this.#incoming = decodePackage(body);
  }

  /** Output that came with the package and may not have arrived. */
  waiting(acked: number): readonly OutputFrame[] {
    return (this.#incoming?.frames ?? []).filter(({ number }) => number > acked);
  }

  /** The escrow has all of this base. */
  baseKnown(base: string): void {
    this.#base_known = base;
    this.#tellFollowed();
  }

  #tellFollowed(): void {
    const { state, dispatch } = this.#shell;
    if (state().base === "following" && this.#base_known === this.#package?.base) dispatch({ kind: "baseFollowed" });
  }

  /** The source would send memory ahead, for the QEMU that waits here; said again until it is heard. */
  async prepareAhead({ base, machine, blocks, turn }: AheadOffer): Promise<void> {
    const { slot, data, state } = this.#shell;
    const vm = slot.vm;
    if (vm?.started_as !== "incoming" || state().vm !== "incoming") return;
    try {
      if (this.#prepared !== vm) {
        this.#prepared = vm;
        this.#listens = Promise.withResolvers<void>();
        await enablePostcopy(vm.qmp);
        await vm.qmp.executeRaw("migrate-incoming", { uri: `unix:${vm.incoming_path}` });
        this.#listens.resolve();
      }
      await this.#listens.promise;
      await data.ask("prepareAhead", { path: vm.incoming_path, base, machine, blocks, turn });
    } catch (error) {
      // Whoever offers does so again, and gives up when nobody is ready.
      const why = messageOf(error);
      if (why !== this.#said) log(this.#shell, `memory ahead was not prepared for: ${why}`);
      this.#said = why;
    }
  }

  async load(): Promise<void> {
    const { slot, dispatch, config, emit, data } = this.#shell;
    const vm = slot.vm;
    const what = this.#incoming;
    if (vm === undefined || what === undefined) {
      dispatch({ kind: "qemuGone" });
      return;
    }
    try {
      savePackage(config.memory_folder, { package: what, small: [] });
      this.#package = what;
      this.#ended = false;
      const stopListening = vm.on((event) => {
        if (event.kind !== "resume") return;
        stopListening();
        emit({ kind: "migration.step", step: "target-running" });
        dispatch({ kind: "vmRunning" });
        this.#taker.follow(vm, what.blocks);
      });
      if (what.ahead === undefined) {
        await enablePostcopy(vm.qmp);
        await vm.qmp.executeRaw("migrate-incoming", { uri: `unix:${vm.incoming_path}` });
      }
      this.#fed = vm;
      await data.ask("load", { path: vm.incoming_path, package: what, hold: this.#shell.machine().hold });
    } catch (error) {
      // A QEMU that did not take the package is of no use any more; its end tells the core.
      log(this.#shell, `the package was not loaded: ${messageOf(error)}`);
      await slot.kill();
      dispatch({ kind: "qemuGone" });
    }
  }

  /** QEMU's end of the stream is gone. */
  feedClosed(why: string): void {
    const vm = this.#fed;
    if (vm === undefined || this.#shell.slot.vm !== vm || vm.gone || this.#ended) return;
    log(this.#shell, `QEMU's migration connection is gone: ${why}`);
    if (this.#shell.state().vm === "running") void this.recover(vm);
  }

  setRoute(route: PageRoute): void {
    tellData(this.#shell, "route", { route });
  }

  /** After every step of the core: the migration ends when the VM is handed off. */
  afterStep(): void {
    this.#tellFollowed();
    const state = this.#shell.state();
    const whole = state.vm === "running" && state.allPages && isOwner(state);
    if (!whole || this.#ended || this.#recovering || this.#fed === undefined) return;
    if (state.protect) this.#goOnProtected(this.#fed, state.opened.mode === "protected");
    if (state.opened.mode !== "final") return;
    this.#ended = true;
    this.#shell.emit({ kind: "handoff", generation: state.opened.generation, n: state.tx.next - 1 });
    tellData(this.#shell, "endFeed", {});
    this.#taker.stop();
  }

  /** All pages are here, and protection goes on: QEMU's migration ends in the stillness of a transaction, if one is taken. */
  #goOnProtected(vm: VmProcess, taking: boolean): void {
    this.#ended = true;
    const { emit, data, state } = this.#shell;
    let told = false;
    const end = async (): Promise<void> => {
      if (!told) await data.ask("endFeed", {});
      told = true;
      await waitFor({ what: "QEMU to end its migration", timeout_ms: ENDED_MS, interval_ms: 1 }, () =>
        vm.migration === "completed" ? true : undefined,
      );
      emit({ kind: "handoff", generation: state().opened.generation, n: state().tx.next - 1 });
    };
    if (taking) this.#taker.handOver(end);
    else
      end()
        .then(() => this.#taker.followRunning(vm, this.#package?.blocks ?? []))
        .catch((error: unknown) => log(this.#shell, messageOf(error)));
  }

  /**
   * The connection to QEMU is gone, with the agent that had it or otherwise: QEMU pauses the migration, and its own
   * recovery handshake says which pages it has.
   */
  async recover(vm: VmProcess): Promise<void> {
    const { emit, dispatch, slot } = this.#shell;
    const what = this.#package;
    if (what === undefined) return;
    if (this.#vain !== undefined && this.#vain.wait_ms > 0) {
      await this.#wait(this.#vain.wait_ms);
      if (slot.vm !== vm || vm.gone) return;
    }
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
      this.#fed = vm;
      this.#ended = false;
      this.#recovering = true;
      const { count, total } = await this.#recovered(path, what);
      this.#noteRecovery(count);
      emit({ kind: "run.note", text: `QEMU goes on with ${count} of ${total} pages after a recovery` });
      this.#taker.follow(vm, what.blocks);
      // All pages may have been there before, and the VM may have been handed off meanwhile.
      this.afterStep();
    } catch (error) {
      log(this.#shell, `the migration was not resumed: ${messageOf(error)}`);
      if (slot.vm !== vm) return;
      await slot.kill();
      dispatch({ kind: "qemuGone" });
    }
  }

  /** The second recovery in a row that finds no new page waits, and each one after that twice as long. */
  #noteRecovery(count: number): void {
    const last = this.#vain;
    const vain = last?.count === count;
    const wait_ms = vain ? Math.min(Math.max(2 * last.wait_ms, VAIN_AGAIN_MS), VAIN_MOST_MS) : 0;
    this.#vain = { count, wait_ms };
  }

  async #recovered(path: string, what: Package): Promise<{ readonly count: number; readonly total: number }> {
    try {
      return await this.#shell.data.ask("recover", { path, package: what });
    } finally {
      this.#recovering = false;
    }
  }

  /** The VM here is not ours to feed any more. */
  async stop(): Promise<void> {
    this.#fed = undefined;
    this.#taker.stop();
    await this.#shell.data.ask("stopFeed", {});
  }
}
