import { randomBytes } from "node:crypto";
import { existsSync, renameSync, rmSync, statSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import { messageOf } from "../../base/errors.ts";
import { RAM_BLOCK } from "../../qemu/command-line.ts";
import type { Role } from "../core/index.ts";
import { readSmallBlocks } from "../dirty/small-blocks.ts";
import { encodeNote } from "../pages/notes.ts";
import { decodeRequest, encodePages } from "../pages/page-frames.ts";
import { BasePages } from "../pages/page-source.ts";
import { StreamCapture } from "../relay/capture.ts";
import { encodePackage, type KeptPackage, loadPackage, savePackage } from "./kept-package.ts";
import type { Shell } from "./shell.ts";

/** The source's part: gets the package out of QEMU, keeps the base, and serves pages of it. */
export class SourceSide {
  readonly #shell: Shell;
  readonly base_path: string;
  #kept: KeptPackage | undefined;
  #file: FileHandle | undefined;
  #pages: BasePages | undefined;
  #serving = false;
  #capture: StreamCapture | undefined;
  #bytes_per_s = 0;

  constructor(shell: Shell) {
    this.#shell = shell;
    this.base_path = join(shell.config.memory_folder, "base");
    this.#kept = loadPackage(shell.config.memory_folder);
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
      const path = join(vm.folder, "out");
      const capture = await StreamCapture.listen(path);
      this.#capture?.[Symbol.dispose]();
      this.#capture = capture;
      const capabilities = ["events", "postcopy-ram"].map((capability) => ({ capability, state: true }));
      await vm.qmp.executeRaw("migrate-set-capabilities", { capabilities });
      await vm.qmp.executeRaw("migrate-set-parameters", { "max-bandwidth": 2 ** 40 });
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
      vm.freeze();
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
      emit({ kind: "migration.step", step: "switchover" });
      emit({
        kind: "run.note",
        text: `package of ${captured.packaged.length} bytes and small blocks kept in ${(performance.now() - began_ms).toFixed(1)} ms`,
      });
      dispatch({ kind: "packageReady", mark, acked: this.#shell.state().gate.acked });
    } catch (error) {
      emit({ kind: "log", stream: "agent", line: `the migration did not begin: ${messageOf(error)}` });
      dispatch({ kind: "migrationFailed" });
    }
  }

  /** Forgets the capture of a migration that was given up. */
  dropCapture(): void {
    this.#capture?.[Symbol.dispose]();
    this.#capture = undefined;
  }

  async startServing(): Promise<void> {
    this.#serving = true;
    if (this.#pages !== undefined || this.#kept === undefined || !existsSync(this.base_path)) return;
    this.#file = await open(this.base_path, "r");
    this.#pages = new BasePages(RAM_BLOCK, this.#file, statSync(this.base_path).size, this.#kept.small);
    this.offer();
  }

  stopServing(): void {
    this.#serving = false;
  }

  /** The escrow is told that there is a base, until it has all of it. */
  offer(): void {
    if (!this.#serving || this.#kept === undefined) return;
    const { base, blocks } = this.#kept.package;
    this.#shell.peers.sendData(
      "escrow",
      encodeNote({ kind: "base-offered", base, blocks: blocks.map((block) => ({ ...block })) }),
    );
  }

  /** Answers a request, in the direction from which it came. */
  async serve(from: Role, payload: Buffer): Promise<void> {
    const { by, of, runs } = decodeRequest(payload);
    if (of !== "source" || !this.#serving || this.#pages === undefined) return;
    for (const run of runs) {
      const pages = await this.#pages.read(run);
      if (!this.#serving) return;
      const whole = pages.filter((page) => page !== undefined);
      if (whole.length === 0) continue;
      this.#shell.peers.sendData(from, encodePages({ by, block: run.block, first: run.first, pages: whole }));
    }
  }

  /** The base is not needed any more: the VM runs elsewhere, or its restored copy here. */
  async forgetBase(): Promise<void> {
    this.#serving = false;
    this.#pages = undefined;
    await this.#file?.close();
    this.#file = undefined;
    rmSync(this.base_path, { force: true });
  }
}
