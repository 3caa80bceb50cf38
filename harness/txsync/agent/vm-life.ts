import { rmSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { messageOf } from "../../base/errors.ts";
import type { Action } from "../core/index.ts";
import { deviceStateOf, type Restorer } from "./restorer.ts";
import { log, type Shell, tellData } from "./shell.ts";
import { runs, type SourceSide } from "./source-side.ts";
import type { TargetSide } from "./target-side.ts";
import type { VmProcess } from "./vm-process.ts";

/** A QEMU that stood by and ended is started again, but not for ever at once. */
const STAND_BY_AGAIN_MS = 200;

/** What becomes of the VM on this host when the core decides: given back, made again, run, ended, let go. */
export class VmLife {
  readonly #shell: Shell;
  readonly #source: SourceSide;
  readonly #target: TargetSide;
  readonly #restorer: Restorer;
  #cancelling: Promise<void> = Promise.resolve();
  /** Somebody asked for a migration, and has not been told of its end. */
  migrate_asked = false;

  constructor(shell: Shell, source: SourceSide, target: TargetSide, restorer: Restorer) {
    this.#shell = shell;
    this.#source = source;
    this.#target = target;
    this.#restorer = restorer;
  }

  /** QEMU ended without having been told to. */
  gone(vm: VmProcess): void {
    // What it had put out before it died was put out all the same.
    this.#shell.output.look();
    this.#shell.dispatch({ kind: "qemuGone" });
    if (vm.started_as !== "standby") return;
    void delay(STAND_BY_AGAIN_MS).then(() => this.#source.standBy());
  }

  load(): void {
    const { slot, output, state } = this.#shell;
    const { vm } = slot;
    if (vm !== undefined) {
      const { gate } = state();
      output.reset(gate.produced, gate.acked, []);
      output.follow(vm.folder);
    }
    void this.#target.load();
  }

  /** The migration is given up before anybody promised anything: the VM runs on here. One attempt at a time. */
  cancel(): Promise<void> {
    this.#cancelling = this.#cancelling.then(() => this.#cancelOnce());
    return this.#cancelling;
  }

  async #cancelOnce(): Promise<void> {
    const { dispatch, emit } = this.#shell;
    try {
      const kept = this.#source.kept;
      if (kept !== undefined && this.#source.hasBase) {
        await this.#restorer.restoreHere(kept.package, deviceStateOf(kept.package), kept.small);
        await this.#source.forgetBase();
      } else {
        await this.#source.cancel();
        const salvaged = await this.#source.leftBehind();
        if (salvaged !== undefined) {
          await this.#restorer.restoreHere(salvaged, salvaged.device_state, salvaged.small);
          await this.#source.forgetBase();
        }
      }
    } catch (error) {
      log(this.#shell, `the VM did not run on here: ${messageOf(error)}`);
      dispatch({ kind: "qemuGone" });
    }
    if (this.migrate_asked) emit({ kind: "migration.step", step: "failed" });
  }

  async restore(action: Extract<Action, { kind: "startRestore" }>): Promise<void> {
    await this.#target.stop();
    const isSource = this.#shell.config.role === "source";
    const known = isSource ? this.#source.package : this.#target.package;
    if (known === undefined) this.#shell.dispatch({ kind: "restoreFailed", generation: action.generation });
    else await this.#restorer.restore(action, known, !isSource);
  }

  async abortRestore(): Promise<void> {
    await this.#restorer.abort();
    await this.#source.standBy();
  }

  /** The vote is cast: the restored VM runs, and what is told to the core is what was seen. */
  async run(): Promise<void> {
    const { slot, dispatch, emit, state } = this.#shell;
    const { vm } = slot;
    if (vm === undefined) return;
    try {
      await runs(vm);
    } catch (error) {
      log(this.#shell, `the restored VM does not run: ${messageOf(error)}`);
      // One that ended has been told of already.
      if (!vm.gone && slot.vm === vm) dispatch({ kind: "runFailed" });
      return;
    }
    dispatch({ kind: "vmRunning" });
    emit({ kind: "restore.running", generation: state().opened.generation });
    await this.#source.forgetBase().catch((error: unknown) => log(this.#shell, messageOf(error)));
  }

  async stop(): Promise<void> {
    await this.#target.stop();
    this.#shell.output.unfollow();
    await this.#shell.slot.kill();
    rmSync(this.#shell.config.ram_path, { force: true });
  }

  /** The migration is over, and the VM elsewhere. */
  async finish(): Promise<void> {
    const { role } = this.#shell.config;
    if (role === "escrow") {
      tellData(this.#shell, "forgetCopy", {});
      return;
    }
    if (role === "source" && this.#shell.machine().hold) {
      await this.#source.putBack();
      return;
    }
    await this.stop();
    if (role === "source") await this.#source.forgetBase();
  }
}
