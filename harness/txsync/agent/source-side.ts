import { randomBytes } from "node:crypto";
import { existsSync, linkSync, renameSync, rmSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { messageOf } from "../../base/errors.ts";
import { unlinkLarge } from "../../base/unlink.ts";
import { waitFor } from "../../base/wait.ts";
import { enablePostcopy, setMigrationParameters } from "../../qemu/migration-api.ts";
import type { LocatedBlock } from "../../qemu/ram-blocks.ts";
import { beginning, MADE_RAM_SECTION_ID, packageOf } from "../../qemu/stream/made-stream.ts";
import type { FrameNumber } from "../core/index.ts";
import {
  basePath,
  type DataCalls,
  type Finished,
  forgetPackage,
  type KeptPackage,
  loadLayout,
  loadPackage,
  type Package,
  packageBytes,
  type Rounds,
  savePackage,
} from "../data/index.ts";
import { readSmallBlocks } from "../dirty/small-blocks.ts";
import type { OutputFrame } from "../log/index.ts";
import { StreamCapture } from "../relay/capture.ts";
import { machineType } from "../restore/feed.ts";
import type { RestoreStream } from "../restore/restore-stream.ts";
import { PausedError } from "../transaction/stopping.ts";
import { standStill } from "../transaction/take.ts";
import { BODY_MAX } from "../wire/index.ts";
import { answers, refusePaused, runs } from "./runs.ts";
import { salvage } from "./salvage.ts";
import { log, type Shell, tellData } from "./shell.ts";
import type { LastTaken } from "./transaction-taker.ts";
import type { VmProcess } from "./vm-process.ts";

const CANCEL_MS = 5_000;
/** A QEMU that has the VM is waited for so long, and asked again after so much. */
const ASKED: Asked = { runs_ms: 5_000, again_ms: 500 };
interface Asked {
  readonly runs_ms: number;
  readonly again_ms: number;
}
/** A package goes in one message, of 8 MiB at most (BODY_MAX), with this as text. */
const OUTPUT_BYTES_MAX = 2 ** 20;
/** What a frame takes there beside its bytes. */
const OUTPUT_FRAME_BYTES = 64;
/** Nothing that a VM here waits for comes from elsewhere. */
const STOP_MS = 10_000;
/**
 * What QEMU sends before it is told to switch over is thrown away. It is not to get through all of it by then: with nothing
 * left it switches over without post-copy. On a busy machine the word came 200 ms late, and 64 MiB had gone.
 */
const PRECOPY_BYTES_PER_S = 256 * 1024;
const FINAL = ["cancelled", "failed", "completed", "none", ""];

/** What a package is made of. */
interface MadeOf {
  readonly blocks: readonly LocatedBlock[];
  readonly machine: string;
  readonly finished: Finished;
  readonly device_state: Buffer;
  readonly follows?: Package["follows"];
  readonly frames?: Package["frames"];
}

/** The source's part of the control plane: gets the package out of QEMU and keeps it, with the base. */
export class SourceSide {
  readonly #shell: Shell;
  readonly base_path: string;
  #kept: KeptPackage | undefined;
  #frozen = false;
  #capture: StreamCapture | undefined;
  #bytes_per_s = 0;
  #may_lay_over = false;
  #ahead = false;
  /** The QEMU that the VM left, which stands still and can go on. */
  #paused: VmProcess | undefined;
  /** What is known of the VM that is protected, and leaves. */
  #leaving: Pick<MadeOf, "blocks" | "machine"> | undefined;
  readonly #readSmall: typeof readSmallBlocks;
  readonly #asked: Asked;
  /** Settles when no QEMU is asked to run on. */
  #running_on: Promise<unknown> = Promise.resolve();

  /** @param readSmall reads what is in no file out of a QEMU that stands still */
  constructor(shell: Shell, readSmall = readSmallBlocks, asked: Asked = ASKED) {
    this.#shell = shell;
    this.#asked = asked;
    this.#readSmall = readSmall;
    this.base_path = basePath(shell.config.memory_folder);
    this.#kept = loadPackage(shell.config.memory_folder);
    const { ram_path } = shell.config;
    // An agent died after it had put the RAM aside and before the package was kept with it: it is no base.
    if (this.#kept === undefined && existsSync(this.base_path) && !existsSync(ram_path))
      renameSync(this.base_path, ram_path);
  }

  get hasBase(): boolean {
    return this.#kept !== undefined && existsSync(this.base_path);
  }

  get kept(): KeptPackage | undefined {
    return this.#kept;
  }

  get package(): Package | undefined {
    return this.#kept?.package;
  }

  setRate(bytes_per_s: number): void {
    this.#bytes_per_s = bytes_per_s;
  }

  /** The base that an earlier life of this agent kept. */
  async findAgain(): Promise<void> {
    const kept = this.#kept;
    if (kept === undefined || !this.hasBase) return;
    const { base, blocks, follows } = kept.package;
    await this.#shell.data.ask("haveBase", { base, blocks, small: kept.small, compare: false, follows });
  }

  /** A package that nobody was promised to have: the VM goes on where it stood, protected as it was. */
  dropPackage(): void {
    this.#kept = undefined;
    forgetPackage(this.#shell.config.memory_folder);
    unlinkLarge(this.base_path);
  }

  /** Has the VM leave: by the agents where that is asked for and its pages can be tracked, else by QEMU's own migration. */
  async migrate(): Promise<void> {
    const { attempt } = this.#shell.state();
    // A QEMU that is silent may still be asked to run on, for an attempt before: that word is not to come in the middle of this.
    await this.#running_on;
    if (this.#shell.state().attempt !== attempt || this.#shell.state().phase !== "precopy") return;
    if (this.#shell.state().protect) {
      await this.#leaveProtected();
      return;
    }
    if (this.#shell.config.switchover_by === "qemu" || !(await this.#migrateByAgent())) await this.#migrateByQemu();
  }

  /**
   * Copies memory ahead to the target while the guest runs, then takes the last transaction here, which is the switchover.
   * @returns whether it could begin
   */
  async #migrateByAgent(): Promise<boolean> {
    const { slot, dispatch, emit, data, state, output } = this.#shell;
    const vm = slot.vm;
    if (vm === undefined) return true;
    const { attempt } = state();
    const wanted = (): boolean => state().phase === "precopy" && state().attempt === attempt;
    const state_path = join(vm.folder, "device-state");
    let mark = output.produced;
    let stopped = false;
    try {
      await vm.attached();
      await refusePaused(vm);
      const [blocks, machine] = [await vm.blocks(), await machineType(vm.qmp)];
      const began_ms = performance.now();
      const ahead = await this.#pushAhead(vm, { blocks, machine, by_records: false }).finally(() => {
        this.#ahead = false;
      });
      if (!ahead.tracked) {
        emit({ kind: "run.note", text: `QEMU itself switches over: its pages cannot be tracked (${ahead.why})` });
        return false;
      }
      this.#sayRounds(ahead, began_ms);
      if (!wanted()) {
        await data.ask("giveUpAhead", {});
        return true;
      }
      const stopping_ms = performance.now();
      stopped = true;
      using still = await standStill({ qmp: vm.qmp, state_path, stop_timeout_ms: STOP_MS, ...output.toDrain });
      // From here on nobody lets it run, and its memory can be looked at.
      vm.freeze();
      const finishing = data.ask("finishAhead", {});
      // While that looks for what changed.
      mark = output.still();
      const [finished, device_state] = await Promise.all([finishing, readFile(state_path)]);
      await still.leaveFrozen();
      rmSync(state_path);
      const { acked } = state().gate;
      await this.#keep(vm, { blocks, machine, finished, device_state, ...this.#underWay(acked, mark) });
      emit({ kind: "migration.step", step: "switchover" });
      const text = `package of ${this.#kept?.package.packaged.length ?? 0} bytes made in ${(performance.now() - stopping_ms).toFixed(1)} ms; ${finished.stale_pages} pages are still to come`;
      emit({ kind: "run.note", text });
      dispatch({ kind: "packageReady", mark, acked });
    } catch (error) {
      log(this.#shell, `the migration did not begin: ${messageOf(error)}`);
      await data.ask("giveUpAhead", {}).catch((why: unknown) => log(this.#shell, messageOf(why)));
      await this.#failedByAgent(vm, attempt, stopped && !(error instanceof PausedError), mark);
    }
    return true;
  }

  /**
   * Of a VM that is protected: memory goes ahead while transactions go on, and they say what changes. The last one here,
   * which the core asks for when this is done, is the switchover.
   */
  async #leaveProtected(): Promise<void> {
    const { slot, dispatch, data, state } = this.#shell;
    const vm = slot.vm;
    if (vm === undefined) return;
    const { attempt } = state();
    try {
      const [blocks, machine] = [await vm.blocks(), await machineType(vm.qmp)];
      this.#leaving = { blocks, machine };
      const began_ms = performance.now();
      const ahead = await this.#pushAhead(vm, { blocks, machine, by_records: true });
      if (!ahead.tracked) throw new Error(ahead.why);
      this.#sayRounds(ahead, began_ms);
      const wanted = state().phase === "precopy" && state().attempt === attempt;
      if (wanted) dispatch({ kind: "memoryAhead" });
      else await data.ask("giveUpAhead", {});
    } catch (error) {
      log(this.#shell, `the migration did not begin: ${messageOf(error)}`);
      this.#ahead = false;
      await data.ask("giveUpAhead", {}).catch((why: unknown) => log(this.#shell, messageOf(why)));
      if (state().attempt === attempt) dispatch({ kind: "migrationFailed" });
    }
  }

  /** @returns when as much of the memory is there as can be while the guest runs, or nobody can say what changes */
  #pushAhead(
    vm: VmProcess,
    what: Pick<Parameters<DataCalls["pushAhead"]>[0], "blocks" | "machine" | "by_records">,
  ): Promise<ReturnType<DataCalls["pushAhead"]>> {
    const { config, data } = this.#shell;
    this.#ahead = true;
    return data.ask("pushAhead", {
      ...what,
      pid: vm.pid,
      folder: vm.folder,
      shim_status_path: vm.shim_status_path,
      bytes_per_s: this.#bytes_per_s,
      memory: config.memory_ahead,
      share: config.base_ahead,
      most_ms: config.base_ahead_ms,
    });
  }

  /** The VM stands still, and its last transaction here is taken: the package is made of it before anybody is told. */
  async standStill({ vm, transaction, mark }: LastTaken): Promise<void> {
    const { config, data, state, emit } = this.#shell;
    const { generation, n } = transaction;
    const leaving = this.#leaving;
    const layout = loadLayout(config.memory_folder);
    const wanted = (): boolean => {
      const now = state().leaving;
      return now?.stage === "taking" && now.n === n;
    };
    if (leaving === undefined || layout === undefined || !wanted()) throw new Error("it is not wanted any more");
    const began_ms = performance.now();
    const finished = await data.ask("finishAhead", { last: transaction.spool });
    this.#ahead = false;
    const { acked } = state().gate;
    const under_way = this.#underWay(acked, mark);
    if (under_way.frames === undefined) throw new Error("too much output waits to arrive: it would have to go along");
    const follows = { base: layout.base, generation, n };
    await this.#keep(vm, { ...leaving, finished, device_state: transaction.device_state, follows, ...under_way });
    // Given up meanwhile: nobody will have it, and who gave it up may have looked for it too early.
    if (!wanted()) {
      this.dropPackage();
      this.#paused = undefined;
      throw new Error("it is not wanted any more");
    }
    const text = `package made in ${(performance.now() - began_ms).toFixed(1)} ms of transaction ${n}; ${finished.stale_pages} pages are still to come`;
    emit({ kind: "run.note", text });
  }

  /**
   * Output that may not have arrived: once the VM is another host's nobody lets it out again but that one, which needs it
   * before its own. Empty where it is more than a package takes.
   */
  #underWay(acked: FrameNumber, mark: FrameNumber): { readonly frames?: readonly OutputFrame[] } {
    const frames = this.#shell.output.frames(acked + 1, mark);
    const bytes = frames.reduce((sum, frame) => sum + frame.bytes.length + OUTPUT_FRAME_BYTES, 0);
    return bytes > OUTPUT_BYTES_MAX ? {} : { frames };
  }

  /** Keeps the package, and the RAM file as its base: under another name, as it is still the memory of this QEMU. */
  async #keep(vm: VmProcess, made: MadeOf): Promise<void> {
    const { config, data } = this.#shell;
    const { machine, finished, follows, frames } = made;
    const sizes = made.blocks.map(({ name, bytes }) => ({ name, bytes }));
    const small = finished.small.map(({ name, content }) => ({ name, content: Buffer.from(content) }));
    const kept: KeptPackage = {
      package: {
        base: randomBytes(8).toString("hex"),
        machine,
        ram_section_id: MADE_RAM_SECTION_ID,
        blocks: sizes,
        bytes_per_s: this.#bytes_per_s,
        ahead: finished.ahead,
        ...(follows === undefined ? {} : { follows }),
        ...(frames === undefined ? {} : { frames }),
        preamble: beginning({ machine, blocks: sizes }, 0),
        packaged: packageOf(made.device_state),
      },
      small,
      qemu: this.#shell.slot.number,
    };
    const bytes = packageBytes(kept.package);
    if (bytes > BODY_MAX) throw new Error(`its package has ${bytes} bytes, and ${BODY_MAX} can be sent`);
    // One of an earlier attempt is none of this base.
    this.#kept = undefined;
    forgetPackage(config.memory_folder);
    unlinkLarge(this.base_path);
    linkSync(config.ram_path, this.base_path);
    savePackage(config.memory_folder, kept);
    this.#kept = kept;
    this.#may_lay_over = false;
    this.#paused = vm;
    // Who let it run by its monitor would have the VM twice, and other pages than the target is to get.
    vm.freeze();
    await data.ask("haveBase", { base: kept.package.base, blocks: sizes, small, compare: true, follows });
  }

  #sayRounds(what: Rounds, began_ms: number): void {
    const { rounds, sent_pages, sent_bytes, left_pages, rate_ms, connection_ms, lost_ms } = what;
    const took_ms = Math.round(performance.now() - began_ms);
    const text = `memory ahead to the target: ${rounds} rounds, ${sent_pages} pages, ${sent_bytes} bytes in ${took_ms} ms (${rate_ms} for the rate's sake, ${connection_ms} for the connection, ${lost_ms} of the rate not used); ${left_pages} left`;
    this.#shell.emit({ kind: "run.note", text });
  }

  /** Whatever went wrong: the VM goes on here, in the QEMU that it never left. */
  async #failedByAgent(vm: VmProcess, attempt: number, stopped: boolean, mark: FrameNumber): Promise<void> {
    const { dispatch, state } = this.#shell;
    if (this.#paused === vm) {
      const inTime = state().phase === "precopy";
      dispatch(inTime ? { kind: "migrationFailed" } : { kind: "packageReady", mark, acked: state().gate.acked });
      return;
    }
    unlinkLarge(this.base_path);
    if (stopped && !(await this.#runOn(vm))) return;
    // It may have been given up before, and another one may have begun.
    if (state().attempt === attempt) dispatch({ kind: "migrationFailed" });
  }

  /** The QEMU that the VM left, where it still stands as it stood: it can go on with no restore. */
  get paused(): VmProcess | undefined {
    const vm = this.#paused;
    return vm !== undefined && this.#shell.slot.vm === vm && !vm.gone && !this.#may_lay_over ? vm : undefined;
  }

  /**
   * The VM goes on in the QEMU that it had left. Once that is told so its memory may be newer than the package is: nobody
   * makes the VM of that any more, a next life of this agent neither, and that QEMU is asked for as long as it lives.
   * @returns whether it does; else nothing was told, and the VM has to be made again
   * @throws Error when it ended after it was told to
   */
  goOn(): Promise<boolean> {
    const vm = this.paused;
    this.#paused = undefined;
    return vm === undefined ? Promise.resolve(false) : this.#inTurn(this.#goOnIn(vm));
  }

  #inTurn<T>(runs_on: Promise<T>): Promise<T> {
    this.#running_on = Promise.allSettled([this.#running_on, runs_on]);
    return runs_on;
  }

  async #goOnIn(vm: VmProcess): Promise<boolean> {
    if (this.package?.follows === undefined) forgetPackage(this.#shell.config.memory_folder);
    for (;;) {
      try {
        await runs(vm, this.#asked.runs_ms);
        return true;
      } catch (error) {
        if (vm.gone || this.#shell.slot.vm !== vm) throw error;
        log(this.#shell, `the VM does not go on yet in the QEMU that it left: ${messageOf(error)}`);
        await delay(this.#asked.again_ms);
      }
    }
  }

  /** Lets QEMU migrate into our hands: a pure post-copy, switched over at once. */
  async #migrateByQemu(): Promise<void> {
    const { slot, dispatch, emit, config, data, state, output } = this.#shell;
    const vm = slot.vm;
    if (vm === undefined) return;
    const stopListening: (() => void)[] = [];
    const { attempt } = state();
    const wanted = (): boolean => state().phase === "precopy" && state().attempt === attempt;
    let mark = output.produced;
    try {
      const blocks = await vm.blocks();
      await this.#copyAhead(vm, blocks);
      if (!wanted()) {
        await data.ask("giveUpAhead", {});
        return;
      }
      const path = join(vm.folder, "out");
      this.#forgetCapture();
      const capture = await StreamCapture.listen(path);
      this.#capture = capture;
      await enablePostcopy(vm.qmp);
      await setMigrationParameters(vm.qmp, { "max-bandwidth": PRECOPY_BYTES_PER_S });
      const refused = Promise.withResolvers<string>();
      let asked = false;
      stopListening.push(
        vm.on((event) => {
          if (event.kind !== "migration") return;
          if (FINAL.includes(event.status)) refused.resolve(`the migration is ${event.status}`);
          if (event.status !== "active" || asked) return;
          asked = true;
          output.toDrain.outputs?.stopping();
          vm.qmp.executeRaw("migrate-start-postcopy").catch((error: unknown) => refused.resolve(messageOf(error)));
        }),
      );
      void vm.exited.then(() => refused.resolve("QEMU ended"));
      // Cancelled by now, there was nothing yet that could have been cancelled.
      if (!wanted()) {
        await data.ask("giveUpAhead", {});
        this.#forgetCapture();
        return;
      }
      await vm.qmp.executeRaw("migrate", { uri: `unix:${path}` });
      if (!wanted()) await this.cancel();
      const captured = await Promise.race([capture.captured, capture.broken, refused.promise]);
      if (typeof captured === "string") throw new Error(captured);
      const began_ms = performance.now();
      // From here on this QEMU does nothing any more, whatever happens to its stream.
      this.#frozen = true;
      vm.freeze();
      await data.ask("stopAhead", {});
      const small = await this.#readSmall({ pagescan: config.pagescan, pid: vm.pid, blocks });
      const { content: _, ...rest } = captured;
      mark = await output.settle();
      if (output.toDrain.outputs?.lagged === true)
        emit({
          kind: "run.note",
          text: "QEMU may have sent on for the VM that it had stopped: its state may not fit its memory (PROTOCOL.md, limits)",
        });
      const { acked } = state().gate;
      const base = randomBytes(8).toString("hex");
      const kept: KeptPackage = {
        package: { ...rest, base, bytes_per_s: this.#bytes_per_s, ...this.#underWay(acked, mark) },
        small,
      };
      this.#kept = undefined;
      forgetPackage(config.memory_folder);
      renameSync(config.ram_path, this.base_path);
      savePackage(config.memory_folder, kept);
      this.#kept = kept;
      this.#may_lay_over = false;
      await data.ask("haveBase", { base, blocks: kept.package.blocks, small, compare: true });
      emit({ kind: "migration.step", step: "switchover" });
      emit({
        kind: "run.note",
        text: `package of ${captured.packaged.length} bytes and small blocks kept in ${(performance.now() - began_ms).toFixed(1)} ms`,
      });
      dispatch({ kind: "packageReady", mark, acked });
    } catch (error) {
      log(this.#shell, `the migration did not begin: ${messageOf(error)}`);
      await this.#failed(vm, mark);
    } finally {
      for (const stop of stopListening) stop();
    }
  }

  /** While the guest still runs here: a good part of its memory goes to the escrow before anything is risked. */
  async #copyAhead(vm: VmProcess, blocks: readonly LocatedBlock[]): Promise<void> {
    const { config, data, emit, state } = this.#shell;
    if (config.base_ahead <= 0) return;
    const began_ms = performance.now();
    const copying = data.ask("copyAhead", {
      pid: vm.pid,
      blocks,
      share: config.base_ahead,
      most_ms: config.base_ahead_ms,
    });
    this.#ahead = true;
    try {
      const { share } = await copying;
      if (state().phase !== "precopy") return;
      const text = `${Math.round(share * 100)} % of the base copied ahead in ${Math.round(performance.now() - began_ms)} ms`;
      emit({ kind: "run.note", text });
    } finally {
      this.#ahead = false;
    }
  }

  /** Whatever went wrong: what is told is where the VM is. */
  async #failed(vm: VmProcess, mark: FrameNumber): Promise<void> {
    const { dispatch, state, config } = this.#shell;
    if (this.#frozen && this.#kept !== undefined) {
      // It stands still, and goes on from its package. A migration that was given up already is given up by that word too.
      const inTime = state().phase === "precopy";
      dispatch(inTime ? { kind: "migrationFailed" } : { kind: "packageReady", mark, acked: state().gate.acked });
      return;
    }
    if (existsSync(this.base_path) && !existsSync(config.ram_path)) renameSync(this.base_path, config.ram_path);
    // One that switched over without post-copy stands still as well, and waits for a target that there is not.
    const stands = this.#frozen || vm.migration === "device";
    if (stands && !vm.gone && !(await this.#runOn(vm))) return;
    dispatch({ kind: "migrationFailed" });
  }

  /**
   * It was to stand still for its package, and there is none: it has to run on, and is only said to when it does. A QEMU
   * that does not answer has the VM, and is asked again for as long as it lives; one that answers and cannot run it is ended.
   * @returns whether it does
   */
  #runOn(vm: VmProcess): Promise<boolean> {
    return this.#inTurn(this.#runOnIn(vm));
  }

  async #runOnIn(vm: VmProcess): Promise<boolean> {
    const { slot, dispatch } = this.#shell;
    vm.thaw();
    this.#frozen = false;
    for (let answered = false; ; ) {
      await vm.qmp.executeRaw("migrate_cancel").catch((error: unknown) => log(this.#shell, messageOf(error)));
      try {
        await runs(vm, this.#asked.runs_ms);
        return true;
      } catch (error) {
        log(this.#shell, `the VM does not run on here: ${messageOf(error)}`);
      }
      if (slot.vm !== vm) return false;
      // One that is silent waits for its disks, say, and does what it was told when it is done: it is asked once more then.
      const speaks = !vm.gone && (await answers(vm, this.#asked.runs_ms));
      if (vm.gone || (speaks && answered)) break;
      answered = speaks;
      if (!speaks) await delay(this.#asked.again_ms);
    }
    await slot.kill();
    dispatch({ kind: "qemuGone" });
    return false;
  }

  #forgetCapture(): void {
    this.#capture?.[Symbol.dispose]();
    this.#capture = undefined;
  }

  /**
   * The migration is not wanted any more. A QEMU that has not switched over is told so and runs on by itself; one that
   * has stands still, and hands over its package in a moment: from that the VM goes on.
   */
  async cancel(): Promise<void> {
    const vm = this.#shell.slot.vm;
    if (vm === undefined || this.#frozen) return;
    await vm.known();
    if (vm.migration !== "active" && vm.migration !== "setup") return;
    await vm.attached();
    await vm.qmp.executeRaw("migrate_cancel").catch((error: unknown) => log(this.#shell, messageOf(error)));
    const what = "QEMU to give the migration up";
    const over = (): true | undefined => (this.#frozen || FINAL.includes(vm.migration) ? true : undefined);
    await waitFor({ what, timeout_ms: CANCEL_MS, interval_ms: 2 }, over);
    if (this.#frozen) return;
    await runs(vm);
    this.#forgetCapture();
  }

  /**
   * The QEMU that an earlier life of this agent left in a migration. It ends by itself where that fails, and the VM runs
   * on in it; where it had switched over already, it can only be taken out of it.
   */
  async leftBehind(): Promise<RestoreStream | undefined> {
    const vm = this.#shell.slot.vm;
    if (vm === undefined || this.#capture !== undefined) return undefined;
    await vm.known();
    if (FINAL.includes(vm.migration)) return undefined;
    await vm.attached();
    const ends = [...FINAL, "postcopy-paused"];
    const settled = (): string | undefined => (ends.includes(vm.migration) ? vm.migration : undefined);
    const what = "QEMU to end the migration that it was left in";
    if ((await waitFor({ what, timeout_ms: CANCEL_MS, interval_ms: 2 }, settled)) !== "postcopy-paused")
      return undefined;
    const salvaged = await salvage(vm, this.#shell.config.pagescan);
    await this.#shell.slot.kill();
    renameSync(this.#shell.config.ram_path, this.base_path);
    return salvaged;
  }

  /**
   * The page service begins: the QEMU that the VM left is not needed any more, and another one stands by on the base.
   * For an audit it is kept as it stood.
   */
  async startServing(): Promise<void> {
    if (this.package?.follows !== undefined && this.#shell.state().phase === "switchover")
      this.#shell.emit({ kind: "migration.step", step: "switchover" });
    await this.#shell.data.ask("serve", {});
    // One in which the VM can go on as it stood is worth more, as long as it may.
    if (!this.#shell.machine().hold && this.paused === undefined) await this.standBy();
  }

  /** Another QEMU on the base, ready for a stream that may never come. */
  async standBy(): Promise<VmProcess | undefined> {
    const { slot, state, machine } = this.#shell;
    if (!this.hasBase || !["none", "gone"].includes(state().vm)) return undefined;
    try {
      return await slot.standby(machine());
    } catch (error) {
      // It is started again where it is needed.
      log(this.#shell, `no QEMU stands by: ${messageOf(error)}`);
      return undefined;
    }
  }

  stopServing(): void {
    tellData(this.#shell, "stopServing", {});
  }

  /** After every step: a migration that is given up needs nothing ahead any more; and once something was committed, and its owner knows, nobody will ever go back to the package alone. */
  afterStep(): void {
    const state = this.#shell.state();
    if (this.#ahead && state.phase !== "precopy") {
      this.#ahead = false;
      tellData(this.#shell, "giveUpAhead", {});
    }
    if (this.#may_lay_over || this.#kept === undefined || this.#shell.machine().hold) return;
    const { follows } = this.#kept.package;
    if ((state.peerTarget?.committed ?? -1) <= (follows?.n ?? 0)) return;
    // Before it has left, and where it is made again here, the base is the memory of a VM that may run at any moment.
    if (state.vm !== "none" && state.vm !== "gone") return;
    this.#may_lay_over = true;
    void this.#layOver();
  }

  /** Nobody will ever go on from where the VM stood: one that stands by takes the place of the QEMU that it left. */
  async #layOver(): Promise<void> {
    if (this.#paused !== undefined) {
      this.#paused = undefined;
      await this.standBy();
    }
    const { vm } = this.#shell.state();
    this.#may_lay_over = vm === "none" || vm === "gone";
    if (this.#may_lay_over) tellData(this.#shell, "mayLayOver", {});
  }

  /** For an audit: the QEMU that the VM left stands as it stood, with its RAM where it was. */
  async putBack(): Promise<void> {
    await this.#shell.data.ask("stopServing", {});
    if (this.#paused !== undefined) {
      this.#paused.thaw();
      unlinkLarge(this.base_path);
      return;
    }
    renameSync(this.base_path, this.#shell.config.ram_path);
    this.#shell.slot.vm?.thaw();
  }

  /** The base is not needed any more: the VM runs elsewhere, or in it, here. */
  async forgetBase(): Promise<void> {
    this.#frozen = false;
    this.#paused = undefined;
    this.#kept = undefined;
    forgetPackage(this.#shell.config.memory_folder);
    await this.#shell.data.ask("forgetBase", {});
  }
}
