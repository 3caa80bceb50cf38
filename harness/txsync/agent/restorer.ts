import { setTimeout as delay } from "node:timers/promises";
import { messageOf, UserError } from "../../base/errors.ts";
import { unlinkLarge } from "../../base/unlink.ts";
import { deviceStateOfPackage } from "../../qemu/stream/package.ts";
import { type Action, frameNumber } from "../core/index.ts";
import { forgetPackage, type Layout, type Package, type RestoredMemory } from "../data/index.ts";
import type { SmallBlock } from "../dirty/small-blocks.ts";
import type { OutputFrame, PartPiece } from "../log/index.ts";
import { feedRestore } from "../restore/feed.ts";
import { type RestoreStream, restoreStream } from "../restore/restore-stream.ts";
import { runs } from "./runs.ts";
import { log, type Shell, tellData } from "./shell.ts";
import type { VmProcess } from "./vm-process.ts";

type StartRestore = Extract<Action, { kind: "startRestore" }>;

const PACKAGED_HEAD_BYTES = 9;
/** A VM that ran here, and has only to go on, is not given up because one QEMU did not start. */
const HERE_TRIES = 8;
/** Until the second try, and each time twice as long: 13 s in all. */
const HERE_AGAIN_MS = 100;

/** What a VM is made of again beside its RAM file: a device state, the other blocks, and what it had put out by then. */
interface Material {
  readonly device_state: Buffer;
  readonly small: readonly SmallBlock[];
  readonly mark: number;
  readonly acked: number;
  readonly frames: readonly OutputFrame[];
  /** Of the other parts of its state. */
  readonly parts: readonly PartPiece[];
}

/** What the VM ran as. */
type Remade = Pick<RestoreStream, "machine" | "blocks">;

/** Makes the VM again from base and log, as a QEMU that stands still until the core lets it run. */
export class Restorer {
  readonly #shell: Shell;
  /** Counts restores: an answer to one that was given up changes nothing. */
  #turn = 0;
  readonly #again_ms: number;

  constructor(shell: Shell, again_ms = HERE_AGAIN_MS) {
    this.#shell = shell;
    this.#again_ms = again_ms;
  }

  /**
   * @param package_ the package that belongs to the base, or what is known of a VM that never was packaged
   * @param fetch whether the base has to come from the escrow; else it is here, and a QEMU stands by on it
   * @param paused the QEMU that the VM left, as it left it: the package is what stands in it
   */
  async restore(action: StartRestore, package_: Package | Layout, fetch: boolean, paused?: VmProcess): Promise<void> {
    const { dispatch, emit, slot, data, parts } = this.#shell;
    const turn = ++this.#turn;
    const began_ms = performance.now();
    const { generation, n } = action;
    emit({ kind: "restore.started", generation, n });
    try {
      if (paused !== undefined && action.from === "package") {
        // Throws where anything was laid over it.
        await data.ask("restorePackage", {});
        if (turn !== this.#turn) return;
        const [mark, { acked }] = [this.#shell.output.produced, this.#shell.state().gate];
        emit({ kind: "run.note", text: "the VM goes on in the QEMU that it left: nothing is restored" });
        emit({ kind: "restore.finished", generation, n, pages: 0, restore_ms: performance.now() - began_ms });
        dispatch({ kind: "restoreReady", generation, n, mark: frameNumber(mark), acked });
        return;
      }
      // What an older generation has under way has no effect any more, before anything is put back.
      for (const part of parts) await part.fence(generation);
      if (turn !== this.#turn) return;
      if (fetch) await this.#makeRoom();
      const standing_by = fetch ? undefined : slot.standby(this.#shell.machine());
      standing_by?.catch(() => undefined);
      const { base, blocks } = package_;
      const memory = action.from === "package" ? undefined : await data.ask("restore", { base, blocks, n, fetch });
      const material =
        memory === undefined
          ? this.#asItStood(deviceStateOf(packageOf(package_)), (await data.ask("restorePackage", {})).small)
          : materialOf(memory);
      const made_ms = performance.now();
      if (turn !== this.#turn) return;
      for (const part of parts)
        await part.restore(
          n,
          material.parts.filter(({ name }) => name === part.name),
        );
      if (turn !== this.#turn) return;
      emit({ kind: "restore.made", generation, n });
      const vm = await (standing_by ?? slot.start(this.#shell.machine(), "restore"));
      if (turn !== this.#turn) return;
      await this.#feed(vm, package_, material);
      if (turn !== this.#turn) return;
      if (memory !== undefined) {
        const { modified_pages, digest } = memory;
        emit({ kind: "restore.verified", generation, n, pages: modified_pages, digest });
      }
      this.#follow(vm, material);
      const now_ms = performance.now();
      emit({
        kind: "run.note",
        text: `restore: memory ${(made_ms - began_ms).toFixed(0)} ms, QEMU ${(now_ms - made_ms).toFixed(0)} ms`,
      });
      emit({ kind: "restore.finished", generation, n, pages: memory?.pages ?? 0, restore_ms: now_ms - began_ms });
      dispatch({
        kind: "restoreReady",
        generation,
        n,
        mark: frameNumber(material.mark),
        acked: frameNumber(material.acked),
      });
    } catch (error) {
      if (turn !== this.#turn) return;
      log(this.#shell, `restore of transaction ${n}: ${messageOf(error)}`);
      await slot.kill();
      if (turn !== this.#turn) return;
      dispatch({ kind: "restoreFailed", generation });
    }
  }

  /**
   * The VM that ran on this host goes on where it stood, in a new QEMU on the base. Until it was told to run nothing of
   * the base has changed, and another one may be tried; from then on that QEMU has the VM, for as long as it lives.
   * @throws Error when it does not run; UserError when it was given up
   */
  async restoreHere(what: Remade, device_state: Buffer, small: readonly SmallBlock[]): Promise<void> {
    const turn = ++this.#turn;
    const material = this.#asItStood(device_state, small);
    const vm = await this.#makeHere(what, material, turn);
    this.#follow(vm, material);
    // From the first word on its memory may be newer than what it was made of: a next life of this agent is not to begin with that.
    forgetPackage(this.#shell.config.memory_folder);
    for (;;) {
      try {
        await runs(vm);
        return;
      } catch (error) {
        if (vm.gone || this.#shell.slot.vm !== vm) throw error;
        log(this.#shell, `the VM does not run yet: ${messageOf(error)}`);
      }
    }
  }

  async #makeHere(what: Remade, material: Material, turn: number): Promise<VmProcess> {
    const { slot } = this.#shell;
    for (let tries = 1; ; tries += 1) {
      try {
        await slot.kill();
        const vm = await slot.standby(this.#shell.machine());
        await this.#feed(vm, what, material);
        if (turn === this.#turn) return vm;
      } catch (error) {
        if (tries === HERE_TRIES || turn !== this.#turn) throw error;
        log(this.#shell, `the VM was not made again here (try ${tries} of ${HERE_TRIES}): ${messageOf(error)}`);
        await delay(this.#again_ms * 2 ** (tries - 1));
        if (turn !== this.#turn) throw error;
        continue;
      }
      throw new UserError("it is not wanted any more");
    }
  }

  /** What is under way comes to nothing: its QEMU ends whatever the data plane says, and before another one's begins. */
  async abort(): Promise<void> {
    this.#turn += 1;
    const { slot, config } = this.#shell;
    tellData(this.#shell, "abortRestore", {});
    await slot.kill();
    unlinkLarge(config.ram_path);
  }

  /** The dead VM's memory goes before another one's comes. */
  async #makeRoom(): Promise<void> {
    await this.#shell.slot.kill();
    unlinkLarge(this.#shell.config.ram_path);
  }

  async #feed(vm: VmProcess, what: Remade, { small, device_state }: Material): Promise<void> {
    await feedRestore({
      qmp: vm.qmp,
      socket_path: vm.incoming_path,
      stream: restoreStream({ machine: what.machine, blocks: what.blocks, small, device_state }),
      run: false,
    });
  }

  #follow(vm: VmProcess, { mark, acked, frames }: Material): void {
    const { output } = this.#shell;
    output.reset(mark, acked, frames);
    output.follow(vm.folder);
  }

  /** Over its base as it is, with all that it has put out. @throws Error where something of that is not stored */
  #asItStood(device_state: Buffer, small: readonly SmallBlock[]): Material {
    const { output, state } = this.#shell;
    const { acked } = state().gate;
    const mark = output.still();
    return {
      device_state,
      small,
      mark,
      acked,
      frames: output.frames(acked + 1, mark),
      parts: [],
    };
  }
}

/** @throws UserError where there is a base and no package: nothing but a record makes the VM of it */
function packageOf(what: Package | Layout): Package {
  if ("packaged" in what) return what;
  throw new UserError("there is no package of this VM: it was protected where it ran");
}

export function deviceStateOf(package_: Package): Buffer {
  return deviceStateOfPackage(Buffer.from(package_.packaged).subarray(PACKAGED_HEAD_BYTES));
}

/** What crossed from the data plane is plain bytes. */
function materialOf({ device_state, small, mark, acked, frames, parts }: RestoredMemory): Material {
  return {
    device_state: Buffer.from(device_state),
    small: small.map(({ name, content }) => ({ name, content: Buffer.from(content) })),
    mark,
    acked,
    frames,
    parts,
  };
}
