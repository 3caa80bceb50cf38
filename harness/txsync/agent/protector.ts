import { randomBytes } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { messageOf } from "../../base/errors.ts";
import { isWhole } from "../core/index.ts";
import { type Layout, loadLayout, saveLayout } from "../data/index.ts";
import { readSmallBlocks } from "../dirty/small-blocks.ts";
import { machineType } from "../restore/feed.ts";
import { log, type Shell, tellData } from "./shell.ts";
import type { TransactionTaker } from "./transaction-taker.ts";

const AGAIN_MS = 1_000;

/** Protects the VM that runs here without any migration: tracks what changes, and has the escrow get the rest. */
export class Protector {
  readonly #shell: Shell;
  readonly #taker: TransactionTaker;
  readonly #readSmall: typeof readSmallBlocks;
  /** Counts beginnings: one that was overtaken changes nothing. */
  #turn = 0;

  /** @param readSmall reads what is in no file out of a QEMU */
  constructor(shell: Shell, taker: TransactionTaker, readSmall = readSmallBlocks) {
    this.#shell = shell;
    this.#taker = taker;
    this.#readSmall = readSmall;
  }

  /** A new base of the VM that runs here. What goes wrong is tried again for as long as it is wanted. */
  async start(): Promise<void> {
    const turn = ++this.#turn;
    while (turn === this.#turn && this.#shell.state().base === "copying") {
      try {
        if (await this.#begin(turn)) return;
      } catch (error) {
        log(this.#shell, `protection did not begin: ${messageOf(error)}`);
      }
      await delay(AGAIN_MS);
    }
  }

  /** @returns whether the escrow is being told */
  async #begin(turn: number): Promise<boolean> {
    const { slot, config, data, emit } = this.#shell;
    const { vm } = slot;
    if (vm === undefined) return false;
    const began_ms = performance.now();
    await vm.attached();
    const [blocks, machine] = [await vm.blocks(), await machineType(vm.qmp)];
    const sizes = blocks.map(({ name, bytes }) => ({ name, bytes }));
    // First tracked, then read: what the guest writes meanwhile is in the first record.
    const mode = await this.#taker.followRunning(vm, sizes);
    if (mode === undefined) return false;
    const small = await this.#readSmall({ pagescan: config.pagescan, pid: vm.pid, blocks });
    if (turn !== this.#turn || slot.vm !== vm) return true;
    const learn = mode === "sure";
    if (learn) for (const { name, content } of small) this.#taker.learn(name, 0, content);
    const layout: Layout = { base: randomBytes(8).toString("hex"), machine, blocks: sizes };
    saveLayout(config.memory_folder, layout);
    await data.ask("offerBase", { ...layout, small, learn, serve: true });
    const text = `the VM's memory is tracked the ${mode} way (${Math.round(performance.now() - began_ms)} ms), and offered to the escrow`;
    emit({ kind: "run.note", text });
    return true;
  }

  /**
   * The agent came up again beside a VM of which the escrow has all of the base.
   * @param migrated blocks of the VM, where it came by a migration whose base is still the one
   */
  async resume(migrated?: Layout["blocks"]): Promise<void> {
    const { slot, config, data, state } = this.#shell;
    const { vm } = slot;
    const layout = loadLayout(config.memory_folder);
    const blocks = layout?.blocks ?? migrated;
    if (!state().protect || state().base !== "held" || vm === undefined || blocks === undefined) return;
    // While pages still come QEMU itself has its memory tracked.
    if (!isWhole(state()) || !["", "completed"].includes(vm.migration)) return;
    this.#turn += 1;
    await this.#taker.followRunning(vm, blocks);
    if (layout !== undefined) await data.ask("offerBase", { ...layout, small: [], learn: false, serve: false });
  }

  stop(): void {
    this.#turn += 1;
    this.#taker.stop();
    tellData(this.#shell, "withdrawBase", {});
  }
}
