import { isOwner, lettingOutFreely } from "../core/index.ts";
import { log, type Shell } from "./shell.ts";
import type { VmProcess } from "./vm-process.ts";

/** So much of the VM's output waits here, and it stands still until half of that has gone. */
export const OUTPUT_HELD_BYTES = 32 * 2 ** 20;

/** Who stops the VM and lets it run, in turn with whoever takes transactions of it. */
export interface Stilling {
  /**
   * Nothing is done where it cannot be stopped, or that is not `wanted` any more when its turn comes.
   * @param stands called when it stands still, before anybody else's turn
   */
  hold(vm: VmProcess, wanted: () => boolean, stands: () => void): Promise<void>;
  /** @param runs called when it runs, before anybody else's turn. @throws Error where QEMU does not do it */
  letRun(vm: VmProcess, runs: () => void): Promise<void>;
}

/**
 * Bounds the output that waits. QEMU writes a serial line into a file and waits for nobody, and not to read it would only
 * move what waits: so the guest is what stands still, as it would before a line whose other end takes nothing. Nothing is
 * dropped, nothing leaves early; transactions go on, of a VM that stands, and their commits are what lets it run again.
 * What comes in one look and until `stop` is done stands beyond the bound.
 */
export class HeldOutput {
  readonly #shell: Pick<Shell, "config" | "output" | "slot" | "state" | "emit" | "machine">;
  readonly #stilling: Stilling;
  #standing:
    | { readonly vm: VmProcess; readonly since_ms: number; most_bytes: number; readonly unhear: () => void }
    | undefined;
  /** Asked, and not answered. */
  #asking = false;

  constructor(shell: Pick<Shell, "config" | "output" | "slot" | "state" | "emit" | "machine">, stilling: Stilling) {
    this.#shell = shell;
    this.#stilling = stilling;
  }

  /** The QEMU in which the VM stands still because of this. */
  get standing(): VmProcess | undefined {
    return this.#standing?.vm;
  }

  /** After every step of the core. */
  afterStep(): void {
    const { slot, state, output } = this.#shell;
    const standing = this.#standing;
    if (standing !== undefined && (slot.vm !== standing.vm || standing.vm.gone)) this.#over(standing.vm);
    if (this.#asking) return;
    if (this.#standing === undefined) {
      const { vm } = slot;
      if (vm !== undefined && this.#isFull()) void this.#ask(this.#hold(vm));
      return;
    }
    this.#standing.most_bytes = Math.max(this.#standing.most_bytes, output.waiting_bytes);
    const now = state();
    // One that is another's by now is ended, or goes on when it is known to be ours.
    if (now.vm === "running" && isOwner(now) && (this.#isFree() || output.waiting_bytes <= this.#bound_bytes / 2))
      void this.#ask(this.#letRun(this.#standing.vm));
  }

  get #bound_bytes(): number {
    return this.#shell.config.output_held_bytes ?? OUTPUT_HELD_BYTES;
  }

  /** Nothing is protected here: what waits is let out, or nobody is there to take it. */
  #isFree(): boolean {
    const state = this.#shell.state();
    return lettingOutFreely(state) || state.opened.mode !== "protected";
  }

  #isFull(): boolean {
    const { state, output, machine } = this.#shell;
    if (output.waiting_bytes <= this.#bound_bytes) return false;
    const now = state();
    return now.vm === "running" && isOwner(now) && !this.#isFree() && !machine().hold;
  }

  async #ask(work: Promise<void>): Promise<void> {
    this.#asking = true;
    try {
      await work;
    } finally {
      this.#asking = false;
    }
  }

  async #hold(vm: VmProcess): Promise<void> {
    const wanted = (): boolean => this.#shell.slot.vm === vm && this.#isFull();
    await this.#stilling.hold(vm, wanted, () => this.#stands(vm));
  }

  #stands(vm: VmProcess): void {
    const { emit, output, state } = this.#shell;
    // Somebody else lets it run (an agent's restart, a migration that is given up): if too much still waits it is stopped again.
    const unhear = vm.on((event) => {
      if (event.kind === "resume") this.#over(vm);
    });
    this.#standing = { vm, since_ms: performance.now(), most_bytes: 0, unhear };
    // What it had put out by then.
    output.look();
    const bytes = output.waiting_bytes;
    emit({ kind: "gate.full", generation: state().opened.generation, bytes });
  }

  async #letRun(vm: VmProcess): Promise<void> {
    try {
      await this.#stilling.letRun(vm, () => this.#over(vm));
    } catch (error) {
      // The next step asks again.
      log(this.#shell, `the VM, which stood still for its output, does not run: ${String(error)}`);
    }
  }

  #over(vm: VmProcess): void {
    const standing = this.#standing;
    if (standing?.vm !== vm) return;
    standing.unhear();
    this.#standing = undefined;
    const { emit, state, output } = this.#shell;
    emit({
      kind: "gate.room",
      generation: state().opened.generation,
      bytes: output.waiting_bytes,
      most_bytes: Math.max(standing.most_bytes, output.waiting_bytes),
      stood_ms: performance.now() - standing.since_ms,
    });
  }
}
