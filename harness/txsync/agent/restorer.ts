import { rmSync } from "node:fs";
import { join } from "node:path";
import { messageOf } from "../../base/errors.ts";
import { waitFor, within } from "../../base/wait.ts";
import { RAM_BLOCK } from "../../qemu/command-line.ts";
import { deviceStateOfPackage } from "../../qemu/stream/package.ts";
import { type Action, frameNumber, type TransactionNumber } from "../core/index.ts";
import { PageSet } from "../dirty/pages.ts";
import { decodeRecord, type OutputFrame, type WholeRecord } from "../log/index.ts";
import { decodePart, encodeNote } from "../pages/notes.ts";
import { decodePages, encodeRequest } from "../pages/page-frames.ts";
import { feedRestore } from "../restore/feed.ts";
import { type Base, buildRamFile } from "../restore/ram-file.ts";
import { type RestoreStream, restoreStream } from "../restore/restore-stream.ts";
import { BaseCopy } from "./base-copy.ts";
import type { Package } from "./kept-package.ts";
import type { Shell } from "./shell.ts";

type StartRestore = Extract<Action, { kind: "startRestore" }>;

const LOG_MS = 20_000;
const BASE_MS = 60_000;
const PACKAGED_HEAD_BYTES = 9;

/** What a VM is made of again: a device state over RAM, and what it had put out by then. */
interface Material {
  readonly device_state: Buffer;
  readonly pages: readonly PageSet[];
  readonly mark: number;
  readonly acked: number;
  readonly frames: readonly OutputFrame[];
}

/** What has come of the log so far. */
interface Answer {
  readonly question: number;
  readonly parts: Buffer[];
  heard_ms: number;
  whole?: Buffer;
  refused?: string;
}

/** What the VM ran as. */
type Remade = Pick<RestoreStream, "machine" | "blocks">;

/** Makes the VM again from base and log, as a QEMU that stands still until the core lets it run. */
export class Restorer {
  readonly #shell: Shell;
  /** To what the escrow was asked last. */
  #answer: Answer = { question: 0, parts: [], heard_ms: 0 };
  /** Counts restores: an answer to one that was given up changes nothing. */
  #turn = 0;
  #fetching: BaseCopy | undefined;
  #fetched: string | undefined;

  constructor(shell: Shell) {
    this.#shell = shell;
  }

  /**
   * @param package_ the package that belongs to the base
   * @param ownBase the base on this host; null where it has to be fetched from the escrow
   */
  async restore(action: StartRestore, package_: Package, ownBase: Base | null): Promise<void> {
    const { dispatch, emit, output, slot } = this.#shell;
    const turn = ++this.#turn;
    const began_ms = performance.now();
    const { generation, n } = action;
    emit({ kind: "restore.started", generation, n });
    try {
      const dying = slot.kill();
      const material = action.from === "package" ? this.#asItStood(deviceStateOf(package_)) : await this.#ofLog(n);
      await dying;
      const fetched_ms = performance.now();
      const base = ownBase ?? (await this.#fetchBase(package_));
      await this.#build(package_, base, material);
      if (turn !== this.#turn) return;
      output.reset(material.mark, material.acked, material.frames);
      const { vm } = slot;
      if (vm === undefined) throw new Error("QEMU ended while it was restored");
      output.follow(vm.folder);
      const pages = material.pages.reduce((sum, set) => sum + set.pages, 0);
      const now_ms = performance.now();
      emit({
        kind: "run.note",
        text: `restore: log ${(fetched_ms - began_ms).toFixed(0)} ms, RAM and QEMU ${(now_ms - fetched_ms).toFixed(0)} ms`,
      });
      emit({ kind: "restore.finished", generation, n, pages, restore_ms: now_ms - began_ms });
      dispatch({
        kind: "restoreReady",
        generation,
        n,
        mark: frameNumber(material.mark),
        acked: frameNumber(material.acked),
      });
    } catch (error) {
      if (turn !== this.#turn) return;
      emit({ kind: "log", stream: "agent", line: `restore of transaction ${n}: ${messageOf(error)}` });
      await slot.kill();
      dispatch({ kind: "restoreFailed", generation });
    }
  }

  /** The source's VM goes on where it stood: a migration that was given up after its package had left QEMU. */
  async restorePackage(package_: Package, base: Base): Promise<void> {
    await this.restoreHere(package_, base, deviceStateOf(package_));
  }

  /** The VM that ran on this host goes on where it stood, in a new QEMU. */
  async restoreHere(what: Remade, base: Base, device_state: Buffer): Promise<void> {
    const turn = ++this.#turn;
    await this.#shell.slot.kill();
    const material = this.#asItStood(device_state);
    await this.#build(what, base, material);
    const { vm } = this.#shell.slot;
    if (turn !== this.#turn || vm === undefined) return;
    const { mark, acked, frames } = material;
    this.#shell.output.reset(mark, acked, frames);
    this.#shell.output.follow(vm.folder);
    await vm.qmp.execute("cont");
  }

  async abort(): Promise<void> {
    this.#turn += 1;
    await this.#shell.slot.kill();
    rmSync(this.#shell.config.ram_path, { force: true });
  }

  async #build(what: Remade, base: Base, material: Material): Promise<void> {
    const { config, slot, machine } = this.#shell;
    rmSync(config.ram_path, { force: true });
    const built = await buildRamFile(base, material.pages, config.ram_path);
    const vm = await slot.start(machine(), "restore");
    await feedRestore({
      qmp: vm.qmp,
      socket_path: vm.incoming_path,
      stream: restoreStream({
        machine: what.machine,
        blocks: what.blocks,
        small: built.small,
        device_state: material.device_state,
      }),
      run: false,
    });
  }

  /** Over its base as it is, with all that it has put out. */
  #asItStood(device_state: Buffer): Material {
    const { gate } = this.#shell.state();
    return {
      device_state,
      pages: [],
      mark: this.#shell.output.produced,
      acked: gate.acked,
      frames: this.#shell.output.frames(gate.acked + 1, this.#shell.output.produced),
    };
  }

  async #ofLog(n: TransactionNumber): Promise<Material> {
    const record = await this.#askLog(n);
    return {
      device_state: record.device_state,
      pages: [pageSetOf(record)],
      mark: record.head.mark,
      acked: record.head.acked,
      frames: record.frames,
    };
  }

  /** The question or its answer may be lost with a connection, or with the escrow's agent: after a silence it is asked anew. */
  async #askLog(n: TransactionNumber): Promise<WholeRecord> {
    const what = `transaction ${n} from the escrow`;
    let silence_ms = this.#shell.config.lease_ms;
    this.#ask(n);
    const answer = await waitFor({ what, timeout_ms: LOG_MS, interval_ms: 2 }, () => {
      const { whole, refused, heard_ms } = this.#answer;
      if (refused !== undefined) throw new Error(refused);
      if (whole === undefined && performance.now() - heard_ms > silence_ms) {
        // A large log takes long to read before its first part leaves: more patience each time.
        silence_ms *= 2;
        this.#ask(n);
      }
      return whole;
    });
    return decodeRecord(answer);
  }

  #ask(n: TransactionNumber): void {
    this.#answer = { question: this.#answer.question + 1, parts: [], heard_ms: performance.now() };
    const { question } = this.#answer;
    this.#shell.peers.sendData("escrow", encodeNote({ kind: "log-wanted", question, n }));
  }

  partCame(payload: Buffer): void {
    const { question, last, bytes } = decodePart(payload);
    const answer = this.#answer;
    if (question !== answer.question) return;
    answer.heard_ms = performance.now();
    answer.parts.push(bytes);
    if (last) answer.whole = Buffer.concat(answer.parts);
  }

  refused(question: number, why: string): void {
    if (question === this.#answer.question) this.#answer.refused = why;
  }

  /** For a host that never had the base: all of it from the escrow. */
  async #fetchBase(package_: Package): Promise<Base> {
    const { config, peers } = this.#shell;
    this.#fetching?.close();
    const { promise, resolve } = Promise.withResolvers<void>();
    const copy = BaseCopy.begin({
      path: join(config.memory_folder, "base-fetched"),
      blocks: package_.blocks,
      ask: (runs) =>
        peers.sendData("escrow", [encodeRequest({ by: "target", of: "escrow", base: package_.base, runs })]),
      onProgress: () => {
        if (copy.complete) resolve();
      },
    });
    this.#fetching = copy;
    this.#fetched = package_.base;
    await within({ what: "the base from the escrow", timeout_ms: BASE_MS }, promise);
    return { block: RAM_BLOCK, path: copy.path, small: copy.small };
  }

  /** Pages that came while a base is fetched here; false when none is. */
  pagesCame(payload: Buffer): boolean {
    if (this.#fetching === undefined || this.#fetching.complete) return false;
    const answer = decodePages(payload);
    if (answer.base === this.#fetched) this.#fetching.answered(answer);
    return true;
  }

  /** The restored VM runs: what it was made of is not needed any more. */
  done(): void {
    this.#fetching?.close();
    this.#fetching = undefined;
  }
}

function deviceStateOf(package_: Package): Buffer {
  return deviceStateOfPackage(package_.packaged.subarray(PACKAGED_HEAD_BYTES));
}

function pageSetOf(record: WholeRecord): PageSet {
  return PageSet.of(
    record.pages.map(({ block, page, bytes }) => ({ block: record.blocks[block]?.name ?? "", page, bytes })),
  );
}
