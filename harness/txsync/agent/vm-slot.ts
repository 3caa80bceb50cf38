import { linkSync, rmSync } from "node:fs";
import type { TimelineEventBody } from "../../base/timeline.ts";
import { unlinkLarge } from "../../base/unlink.ts";
import { basePath } from "../data/index.ts";
import type { AgentConfig } from "./config.ts";
import type { Machine } from "./machine.ts";
import type { Starter } from "./starter.ts";
import { folderOf, killLeftover, type StartAs, VmProcess } from "./vm-process.ts";

const LOOK_AT_LOG_EVERY_MS = 1_000;

export interface SlotOptions {
  readonly config: AgentConfig;
  readonly starter: Starter;
  /** The QEMU in the slot ended without having been told to. */
  readonly onGone: (vm: VmProcess) => void;
  readonly emit: (event: TimelineEventBody) => void;
  /** What a QEMU connects to when it starts is there once this settles. */
  readonly ready?: () => Promise<void>;
}

/** The place for the one QEMU that may run on this host. Nothing is started in it before the last one is gone. */
export class VmSlot {
  readonly #options: SlotOptions;
  #vm: VmProcess | undefined;
  #number = 0;
  /** It has its number, and is not in the slot yet. */
  #starting: StartAs | undefined;
  #queue: Promise<unknown> = Promise.resolve();

  constructor(options: SlotOptions) {
    this.#options = options;
  }

  get vm(): VmProcess | undefined {
    return this.#vm;
  }

  /** What the QEMU of this number was started as, be it on its way; `none`: there is none. */
  get as(): StartAs | "adopted" | "none" {
    if (this.#vm !== undefined) return this.#vm.started_as ?? "adopted";
    return this.#starting ?? "none";
  }

  /** Of the last QEMU that was started here. */
  get number(): number {
    return this.#number;
  }

  start(machine: Machine, as: StartAs): Promise<VmProcess> {
    return this.#inTurn(() => this.#start(machine, as));
  }

  /**
   * The QEMU that stands by on the base: the one that is there, or a new one. It reads nothing of the file before its
   * stream comes (harness/qemu/FACTS.md, "In-place restore"), so the base may be written meanwhile.
   */
  standby(machine: Machine): Promise<VmProcess> {
    return this.#inTurn(async () => {
      const vm = this.#vm;
      if (vm?.started_as === "standby" && !vm.gone) return vm;
      return await this.#start(machine, "standby");
    });
  }

  async #start(machine: Machine, as: StartAs): Promise<VmProcess> {
    const { config } = this.#options;
    this.#starting = as;
    try {
      await this.#end();
      rmSync(folderOf(config, this.#number - 1), { recursive: true, force: true });
      this.#number += 1;
      if (as !== "restore") unlinkLarge(config.ram_path);
      // The base by another name: it is the VM's memory from the moment it runs, and is not copied.
      if (as === "standby") linkSync(basePath(config.memory_folder), config.ram_path);
      await this.#options.ready?.();
      const vm = await VmProcess.start(config, machine, this.#number, as, this.#options.starter);
      this.#take(vm);
      return vm;
    } finally {
      this.#starting = undefined;
    }
  }

  /**
   * Finds what an earlier life of the agent left; undefined where it is gone.
   * @param thaw the agent may have frozen it
   * @throws Error when it is there and cannot be reached
   */
  async adopt(number: number, thaw = false): Promise<VmProcess | undefined> {
    this.#number = number;
    // One more may have been started than was noted.
    await killLeftover(this.#options.config, number + 1);
    const vm = VmProcess.adopt(this.#options.config, folderOf(this.#options.config, number), thaw);
    if (vm !== undefined) this.#take(vm);
    return vm;
  }

  /** Ends what an earlier life of the agent left. */
  async remove(number: number): Promise<void> {
    this.#number = number;
    await killLeftover(this.#options.config, number);
    await killLeftover(this.#options.config, number + 1);
  }

  /** Takes over a QEMU that another agent had started, in another folder than ours. */
  async take(folder: string): Promise<VmProcess | undefined> {
    const vm = VmProcess.adopt(this.#options.config, folder);
    await vm?.known();
    if (vm !== undefined) this.#take(vm);
    return vm;
  }

  /** Ends the QEMU in the slot, if there is one; nobody is told, because it was asked for. */
  kill(): Promise<void> {
    return this.#inTurn(() => this.#end());
  }

  #take(vm: VmProcess): void {
    this.#vm = vm;
    const { emit, onGone } = this.#options;
    const tell = (): void => {
      const { major, minor, micro } = vm.qmp.version;
      emit({ kind: "qemu.started", pid: vm.pid, version: `${major}.${minor}.${micro}`, argv: [vm.folder] });
    };
    vm.attached().then(tell, () => undefined);
    let cut = false;
    const looking = setInterval(() => {
      void vm.boundLog().then((now) => {
        if (now && !cut)
          emit({ kind: "log", stream: "agent", line: "QEMU says much: the beginning of its log is cut off" });
        cut ||= now;
      });
    }, LOOK_AT_LOG_EVERY_MS).unref();
    void vm.exited.then(() => {
      clearInterval(looking);
      emit({ kind: "qemu.exited", code: null, last_lines: vm.last_lines.split(" | ") });
      if (this.#vm !== vm) return;
      this.#vm = undefined;
      onGone(vm);
    });
  }

  async #end(): Promise<void> {
    const vm = this.#vm;
    this.#vm = undefined;
    await vm?.kill();
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#queue.then(work);
    this.#queue = turn.catch(() => undefined);
    return turn;
  }
}
