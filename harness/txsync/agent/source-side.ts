import { randomBytes } from "node:crypto";
import { existsSync, renameSync, rmSync, statSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import { messageOf } from "../../base/errors.ts";
import { waitFor } from "../../base/wait.ts";
import { RAM_BLOCK } from "../../qemu/command-line.ts";
import { enablePostcopy, setMigrationParameters } from "../../qemu/migration-api.ts";
import type { LocatedBlock } from "../../qemu/ram-blocks.ts";
import type { Role } from "../core/index.ts";
import { readSmallBlocks } from "../dirty/small-blocks.ts";
import { CHANGED_RUNS_MAX, encodeNote, type Note } from "../pages/notes.ts";
import { decodeRequest, encodePages } from "../pages/page-frames.ts";
import { BasePages, upToFirstMissing } from "../pages/page-source.ts";
import { StreamCapture } from "../relay/capture.ts";
import type { RestoreStream } from "../restore/restore-stream.ts";
import { BaseAhead, type ChangedRuns } from "./base-ahead.ts";
import { encodePackage, type KeptPackage, loadPackage, savePackage } from "./kept-package.ts";
import { salvage } from "./salvage.ts";
import type { Shell } from "./shell.ts";
import { sendTargetPages } from "./target-pages.ts";

const CANCEL_MS = 5_000;
const FINAL = ["cancelled", "failed", "completed", "none", ""];

/** The source's part: gets the package out of QEMU, keeps the base, and serves pages of it. */
export class SourceSide {
  readonly #shell: Shell;
  readonly base_path: string;
  #kept: KeptPackage | undefined;
  #file: FileHandle | undefined;
  #pages: BasePages | undefined;
  #serving = false;
  #frozen = false;
  #comparing = false;
  #capture: StreamCapture | undefined;
  #bytes_per_s = 0;
  #ahead: BaseAhead | undefined;
  /** The present base is what was copied ahead but for these; until the escrow has heard of it. */
  #changed: { readonly from: string; readonly runs: ChangedRuns } | undefined;
  #held: Extract<Note, { kind: "base-held" }> | undefined;

  constructor(shell: Shell) {
    this.#shell = shell;
    this.base_path = join(shell.config.memory_folder, "base");
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

  packageBody(): Uint8Array[] | undefined {
    return this.#kept === undefined ? undefined : encodePackage(this.#kept.package);
  }

  setRate(bytes_per_s: number): void {
    this.#bytes_per_s = bytes_per_s;
  }

  /** Lets QEMU migrate into our hands: a pure post-copy, switched over at once. */
  async migrate(): Promise<void> {
    const { slot, dispatch, emit, config } = this.#shell;
    const vm = slot.vm;
    if (vm === undefined) return;
    try {
      const blocks = await vm.blocks();
      await this.#copyAhead(blocks, vm.pid);
      if (this.#shell.state().phase !== "precopy") {
        await this.#ahead?.stop();
        await this.#ahead?.close();
        this.#ahead = undefined;
        return;
      }
      const path = join(vm.folder, "out");
      const capture = await StreamCapture.listen(path);
      this.#capture?.[Symbol.dispose]();
      this.#capture = capture;
      await enablePostcopy(vm.qmp);
      await setMigrationParameters(vm.qmp, { "max-bandwidth": 2 ** 40 });
      let started = false;
      vm.on((event) => {
        if (started || event.kind !== "migration" || event.status !== "active") return;
        started = true;
        vm.qmp.executeRaw("migrate-start-postcopy").catch(() => undefined);
      });
      await vm.qmp.executeRaw("migrate", { uri: `unix:${path}` });
      const captured = await Promise.race([capture.captured, capture.broken]);
      if (typeof captured === "string") throw new Error(captured);
      const began_ms = performance.now();
      // From here on this QEMU does nothing any more, whatever happens to its stream; it is kept for its memory.
      this.#frozen = true;
      vm.freeze();
      const ahead = this.#ahead;
      await ahead?.stop();
      const small = await readSmallBlocks({ pagescan: config.pagescan, pid: vm.pid, blocks });
      const { content: _, ...rest } = captured;
      const kept: KeptPackage = {
        package: { ...rest, base: randomBytes(8).toString("hex"), bytes_per_s: this.#bytes_per_s },
        small,
      };
      const mark = this.#shell.output.look();
      renameSync(config.ram_path, this.base_path);
      savePackage(config.memory_folder, kept);
      this.#kept = kept;
      this.#ahead = undefined;
      if (ahead !== undefined) void this.#compare(ahead, kept.package.base);
      emit({ kind: "migration.step", step: "switchover" });
      emit({
        kind: "run.note",
        text: `package of ${captured.packaged.length} bytes and small blocks kept in ${(performance.now() - began_ms).toFixed(1)} ms`,
      });
      dispatch({ kind: "packageReady", mark, acked: this.#shell.state().gate.acked });
    } catch (error) {
      if (this.#frozen && this.#kept === undefined) {
        // It was to stand still for its package, and there is none: it has to run on.
        vm.thaw();
        await vm.qmp.executeRaw("migrate_cancel").catch(() => undefined);
        await vm.qmp.execute("cont").catch(() => undefined);
        this.#frozen = false;
      }
      emit({ kind: "log", stream: "agent", line: `the migration did not begin: ${messageOf(error)}` });
      dispatch({ kind: "migrationFailed" });
    }
  }

  /**
   * The migration is not wanted any more. A QEMU that has not switched over is told so and runs on by itself; one that
   * has stands still, and hands over its package in a moment: from that the VM goes on.
   */
  async cancel(): Promise<void> {
    const vm = this.#shell.slot.vm;
    if (vm === undefined || this.#frozen) return;
    if (vm.migration !== "active" && vm.migration !== "setup") return;
    await vm.attached();
    await vm.qmp.executeRaw("migrate_cancel").catch(() => undefined);
    const what = "QEMU to give the migration up";
    const over = (): true | undefined => (this.#frozen || FINAL.includes(vm.migration) ? true : undefined);
    await waitFor({ what, timeout_ms: CANCEL_MS, interval_ms: 2 }, over);
    if (this.#frozen) return;
    await vm.qmp.execute("cont");
    this.#capture?.[Symbol.dispose]();
    this.#capture = undefined;
  }

  /**
   * The QEMU that an earlier life of this agent left in a migration. It ends by itself where that fails, and the VM runs
   * on in it; where it had switched over already, it can only be taken out of it.
   */
  async leftBehind(): Promise<RestoreStream | undefined> {
    const vm = this.#shell.slot.vm;
    if (vm === undefined || this.#capture !== undefined || FINAL.includes(vm.migration)) return undefined;
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

  async startServing(): Promise<void> {
    this.#serving = true;
    if (this.#pages !== undefined || this.#kept === undefined || !existsSync(this.base_path)) return;
    this.#file = await open(this.base_path, "r");
    this.#pages = new BasePages(RAM_BLOCK, this.#file.fd, statSync(this.base_path).size, this.#kept.small);
    this.offer();
  }

  stopServing(): void {
    this.#serving = false;
  }

  /** What the escrow says that it has. */
  baseHeld(held: Extract<Note, { kind: "base-held" }>): void {
    this.#held = held;
  }

  /** The escrow is told that there is a base, until it has all of it. */
  offer(): void {
    const ahead = this.#ahead;
    if (ahead !== undefined) {
      this.#offer({ base: ahead.base, blocks: ahead.blocks, from: null, final: false, changed: {} });
      return;
    }
    if (!this.#serving || this.#kept === undefined || this.#comparing) return;
    const { base, blocks } = this.#kept.package;
    if (this.#held?.base === base && this.#held.complete) return;
    this.#offer({ base, blocks, from: this.#changed?.from ?? null, final: true, changed: this.#changed?.runs ?? {} });
  }

  #offer(what: Omit<Extract<Note, { kind: "base-offered" }>, "kind">): void {
    const blocks = what.blocks.map(({ name, bytes }) => ({ name, bytes }));
    this.#shell.peers.sendData("escrow", encodeNote({ kind: "base-offered", ...what, blocks }));
  }

  /** While the guest still runs here: a good part of its memory goes to the escrow before anything is risked. */
  async #copyAhead(blocks: readonly LocatedBlock[], pid: number): Promise<void> {
    const { config, state, emit } = this.#shell;
    if (config.base_ahead <= 0) return;
    const began_ms = performance.now();
    this.#ahead = await BaseAhead.open({ ram_path: config.ram_path, pagescan: config.pagescan, pid, blocks });
    this.offer();
    const { base } = this.#ahead;
    const enough = (): true | undefined => {
      if (state().phase !== "precopy") return true;
      return this.#held?.base === base && this.#held.share >= config.base_ahead ? true : undefined;
    };
    const what = "the escrow to have a part of the base";
    await waitFor({ what, timeout_ms: config.base_ahead_ms, interval_ms: 5 }, enough).catch(() => undefined);
    const share = this.#held?.base === base ? this.#held.share : 0;
    emit({
      kind: "run.note",
      text: `${Math.round(share * 100)} % of the base copied ahead in ${Math.round(performance.now() - began_ms)} ms`,
    });
  }

  /** The guest stands still: which of the pages that were copied ahead has it changed since? */
  async #compare(ahead: BaseAhead, base: string): Promise<void> {
    this.#comparing = true;
    try {
      const began_ms = performance.now();
      const changed = await ahead.changed();
      if (this.#kept?.package.base !== base) return;
      const count = Object.values(changed).reduce((sum, runs) => sum + runs.length, 0);
      if (count <= CHANGED_RUNS_MAX) this.#changed = { from: ahead.base, runs: changed };
      const text = `${count} runs of pages had changed since they were copied ahead (${Math.round(performance.now() - began_ms)} ms)`;
      this.#shell.emit({ kind: "run.note", text });
    } catch (error) {
      // Then nothing of what was copied ahead counts, and the base is copied anew.
      this.#shell.emit({
        kind: "log",
        stream: "agent",
        line: `pages copied ahead were not compared: ${messageOf(error)}`,
      });
    } finally {
      this.#comparing = false;
      this.offer();
      await ahead.close();
    }
  }

  /** Answers a request, in the direction from which it came. */
  async serve(from: Role, payload: Buffer): Promise<void> {
    const { by, of, base, runs } = decodeRequest(payload);
    if (of !== "source") return;
    if (this.#ahead?.base === base) {
      await this.#ahead.serve(runs, (block, first, pages) =>
        this.#shell.peers.sendData(from, encodePages({ by, base, block, first, pages })),
      );
      return;
    }
    if (!this.#serving || this.#pages === undefined || this.#kept?.package.base !== base) return;
    for (const run of runs) {
      const whole = upToFirstMissing(this.#pages.read(run));
      if (whole.length === 0) continue;
      const frame = encodePages({ by, base, block: run.block, first: run.first, pages: whole });
      if (by === "target") sendTargetPages(this.#shell.peers, from, frame);
      else this.#shell.peers.sendData(from, frame);
    }
  }

  /** For an audit: the QEMU that the VM left stands as it stood, with its RAM where it was. */
  async putBack(): Promise<void> {
    this.#serving = false;
    this.#pages = undefined;
    await this.#file?.close();
    renameSync(this.base_path, this.#shell.config.ram_path);
    this.#shell.slot.vm?.thaw();
  }

  /** The base is not needed any more: the VM runs elsewhere, or its restored copy here. */
  async forgetBase(): Promise<void> {
    this.#serving = false;
    this.#frozen = false;
    this.#pages = undefined;
    await this.#file?.close();
    this.#file = undefined;
    rmSync(this.base_path, { force: true });
  }
}
