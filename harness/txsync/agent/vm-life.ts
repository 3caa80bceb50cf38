import { setTimeout as delay } from "node:timers/promises";
import { messageOf } from "../../base/errors.ts";
import { unlinkLarge } from "../../base/unlink.ts";
import type { Action } from "../core/index.ts";
import { deviceStateOf, type Restorer } from "./restorer.ts";
import { runs } from "./runs.ts";
import { log, type Shell, tellData } from "./shell.ts";
import type { SourceSide } from "./source-side.ts";
import type { TargetSide } from "./target-side.ts";
import type { VmProcess } from "./vm-process.ts";

/** A QEMU that stood by and ended is started again: so often one after the other, each time after twice as long. */
const STAND_BY_TRIES = 5;
const STAND_BY_AGAIN_MS = 200;
/** A QEMU in which the VM was left, and that does not answer, is asked again. */
const ASK_AGAIN_MS = 500;

/** What becomes of the VM on this host when the core decides: given back, made again, run, ended, let go. */
export class VmLife {
  readonly #shell: Shell;
  readonly #source: SourceSide;
  readonly #target: TargetSide;
  readonly #restorer: Restorer;
  readonly #stand_by_again_ms: number;
  #stood_by = 0;
  #cancelling: Promise<void> = Promise.resolve();
  /** Somebody asked for a migration, and has not been told of its end. */
  migrate_asked = false;

  constructor(
    shell: Shell,
    source: SourceSide,
    target: TargetSide,
    restorer: Restorer,
    stand_by_again_ms = STAND_BY_AGAIN_MS,
  ) {
    this.#shell = shell;
    this.#stand_by_again_ms = stand_by_again_ms;
    this.#source = source;
    this.#target = target;
    this.#restorer = restorer;
  }

  /** QEMU ended without having been told to. */
  gone(vm: VmProcess): void {
    // What it had put out before it died was put out all the same.
    this.#shell.output.look();
    // What came ahead for it lies in a file that nobody else has open.
    if (this.#shell.state().vm === "incoming") tellData(this.#shell, "stopFeed", {});
    this.#shell.dispatch({ kind: "qemuGone" });
    if (vm.started_as !== "standby") return;
    this.#stood_by += 1;
    if (this.#stood_by > STAND_BY_TRIES) {
      log(
        this.#shell,
        `no QEMU stands by any more: ${STAND_BY_TRIES + 1} of them ended; it is started where it is needed`,
      );
      return;
    }
    void delay(this.#stand_by_again_ms * 2 ** (this.#stood_by - 1)).then(() => this.#source.standBy());
  }

  /** @returns settles when the package is loaded, or is not */
  async load(): Promise<void> {
    const { slot, output, state, dispatch } = this.#shell;
    const { vm } = slot;
    if (vm !== undefined) {
      const { gate } = state();
      try {
        output.reset(gate.produced, gate.acked, this.#target.waiting(gate.acked));
        output.follow(vm.folder);
      } catch (error) {
        // A host that has no room for what the VM puts out cannot have it.
        log(this.#shell, `the package was not loaded: ${messageOf(error)}`);
        await slot.kill();
        dispatch({ kind: "qemuGone" });
        return;
      }
    }
    await this.#target.load();
  }

  /** Once what becomes of the attempt before is settled. */
  async migrate(): Promise<void> {
    await this.#cancelling;
    await this.#source.migrate();
  }

  /** The migration is given up before anybody promised anything: the VM runs on here. One attempt at a time. */
  cancel(): Promise<void> {
    this.#cancelling = this.#cancelling.then(() => this.#cancelOnce());
    return this.#cancelling;
  }

  async #cancelOnce(): Promise<void> {
    const { dispatch, emit, slot } = this.#shell;
    let remade = false;
    try {
      const kept = this.#source.hasBase ? this.#source.kept : undefined;
      const left = kept === undefined ? await this.#leave() : undefined;
      const goes_on = kept !== undefined && (await this.#source.goOn());
      // Its records are of a QEMU that is no more: the VM is made again of them.
      if (kept?.package.follows !== undefined && !goes_on) throw new Error("the QEMU that it was to leave is gone");
      if (kept?.package.follows !== undefined) this.#source.dropPackage();
      if (left !== undefined) await this.#restorer.restoreHere(left, left.device_state, left.small);
      if (kept !== undefined && !goes_on)
        await this.#restorer.restoreHere(kept.package, deviceStateOf(kept.package), kept.small);
      remade = left !== undefined || kept !== undefined;
    } catch (error) {
      log(this.#shell, `the VM did not run on here: ${messageOf(error)}`);
      await slot.kill();
      dispatch({ kind: "qemuGone" });
    }
    // It runs: what fails from here on is not its end.
    if (remade) await this.#forgetBase();
    if (this.migrate_asked) emit({ kind: "migration.step", step: "failed" });
  }

  /**
   * QEMU gives the migration up, and the VM runs on in it, or is taken out of it. One that does not answer is asked again
   * for as long as it lives: it has the VM.
   */
  async #leave(): ReturnType<SourceSide["leftBehind"]> {
    const { slot } = this.#shell;
    const { vm } = slot;
    for (;;) {
      try {
        await this.#source.cancel();
        return await this.#source.leftBehind();
      } catch (error) {
        if (vm === undefined || vm.gone || slot.vm !== vm) throw error;
        log(this.#shell, `QEMU has not given the migration up: ${messageOf(error)}`);
        await delay(ASK_AGAIN_MS);
      }
    }
  }

  async #forgetBase(): Promise<void> {
    await this.#source.forgetBase().catch((error: unknown) => log(this.#shell, messageOf(error)));
  }

  /** The data plane is told, and not waited for. */
  #letGo(): void {
    this.#target.stop().catch((error: unknown) => log(this.#shell, messageOf(error)));
  }

  async restore(action: Extract<Action, { kind: "startRestore" }>): Promise<void> {
    this.#letGo();
    this.#stood_by = 0;
    const { config, data, state } = this.#shell;
    const isSource = config.role === "source";
    const known = isSource ? this.#source.package : this.#target.package;
    // A VM that was protected where it ran: the escrow has all that is needed, whether it ever was here or not.
    const held = (action.from === "log" && (await data.ask("heldBase", {}))) || undefined;
    // Given up while that was asked.
    const given_up = state().vm !== "restoring" || state().opened.generation !== action.generation;
    if (held !== undefined && given_up) return;
    if (held !== undefined && held.base !== known?.base) await this.#restorer.restore(action, held, true);
    else if (known === undefined) this.#shell.dispatch({ kind: "restoreFailed", generation: action.generation });
    else await this.#restorer.restore(action, known, !isSource, isSource ? this.#source.paused : undefined);
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
    await this.#forgetBase();
  }

  /** The VM here is ended, whatever the data plane says. */
  async stop(): Promise<void> {
    this.#letGo();
    this.#shell.output.unfollow();
    await this.#shell.slot.kill();
    unlinkLarge(this.#shell.config.ram_path);
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
