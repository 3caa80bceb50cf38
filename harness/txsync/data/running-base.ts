import { randomBytes } from "node:crypto";
import { closeSync, openSync } from "node:fs";
import { PAGE_BYTES } from "../../base/page.ts";
import { RAM_BLOCK } from "../../qemu/command-line.ts";
import type { Role } from "../core/index.ts";
import type { SmallBlock } from "../dirty/small-blocks.ts";
import { encodeNote, type Note } from "../pages/notes.ts";
import { decodeRequest, encodePages, RUN_PAGES_MAX } from "../pages/page-frames.ts";
import { pagesOf } from "../pages/page-map.ts";
import { BasePages, readRun } from "../pages/page-source.ts";
import type { DataShell } from "./data-shell.ts";
import type { Layout } from "./kept-base.ts";

type BaseHeld = Extract<Note, { kind: "base-held" }>;

/** So much may wait to be sent before more is read. */
const BACKLOG_BYTES = 2 << 20;
const ZEROS = Buffer.alloc(PAGE_BYTES);

/** The base of a VM that runs, as whoever keeps the log gets it. */
export interface OfferedBase extends Layout {
  /** Content of the blocks that are in no file, as it was read while the guest ran. */
  readonly small: readonly SmallBlock[];
  /** The sure way of finding what changes has to know what the escrow has been sent. */
  readonly learn: boolean;
  /** Pages of it may be sent; else it is known to be there, and only that is still to be heard. */
  readonly serve: boolean;
}

/**
 * A base that never stood still: pages of a running guest, each as it was when it was read. Right all the same, because what
 * is written has been tracked since before the first was: whatever changed before or after it was read is in the record
 * since the base.
 */
export class RunningBase {
  readonly #shell: DataShell;
  #offered: OfferedBase | undefined;
  #pages: BasePages | undefined;
  #file: number | undefined;
  #covered = false;
  /** By block: pages that were sent, where the sure way has to know. */
  readonly #sent = new Map<string, Uint8Array>();

  constructor(shell: DataShell) {
    this.#shell = shell;
  }

  begin(offered: OfferedBase): void {
    this.end();
    this.#offered = offered;
    if (offered.serve) {
      this.#file = openSync(this.#shell.config.ram_path, "r");
      const bytes = offered.blocks.find(({ name }) => name === RAM_BLOCK)?.bytes ?? 0;
      this.#pages = new BasePages(RAM_BLOCK, this.#file, bytes, offered.small);
      for (const { name, bytes } of offered.blocks) this.#sent.set(name, new Uint8Array(pagesOf(bytes)));
    }
    this.offer();
  }

  end(): void {
    this.#offered = undefined;
    this.#pages = undefined;
    this.#covered = false;
    this.#sent.clear();
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
  }

  /** The escrow is told of it until it has all of it: what was said may have been lost. */
  offer(): void {
    const offered = this.#offered;
    if (offered === undefined || this.#covered || !offered.serve) return;
    const { base, machine } = offered;
    const blocks = offered.blocks.map(({ name, bytes }) => ({ name, bytes }));
    this.#shell.peers.sendData("escrow", "bulk", encodeNote({ kind: "base-running", base, machine, blocks }));
  }

  baseHeld({ base, complete }: BaseHeld): void {
    if (base !== this.#offered?.base || complete === this.#covered) return;
    this.#covered = complete;
    this.#shell.tell({ kind: "covered", covered: complete });
  }

  /** @returns whether the request is for this base */
  isOf(payload: Buffer): boolean {
    const { base, of } = decodeRequest(payload);
    return of === this.#shell.config.role && base === this.#offered?.base;
  }

  /** Answers a request of the escrow. */
  async requested(from: Role, payload: Buffer): Promise<void> {
    const { by, base, runs } = decodeRequest(payload);
    const { peers } = this.#shell;
    await peers.drained(from, "bulk", BACKLOG_BYTES);
    for (const run of runs) {
      const pages = this.#pages;
      if (pages === undefined || base !== this.#offered?.base || run.count > RUN_PAGES_MAX) return;
      const { pages: whole, give } = readRun(pages, run, peers.buffers);
      if (whole.length === 0) continue;
      this.#learn(run.block, run.first, whole);
      const frame = encodePages({ by, base, block: run.block, first: run.first, pages: whole });
      // Asked for again by the next connection.
      if (!peers.sendData(from, "bulk", frame, give)) return;
    }
  }

  /** Before it is sent. Of a page that is sent twice it is not known which copy is kept: it counts as changed. */
  #learn(block: string, first: number, pages: readonly (Uint8Array | null)[]): void {
    const sent = this.#sent.get(block);
    if (this.#offered?.learn !== true || sent === undefined) return;
    const known = pages.map((bytes, i) => {
      const again = sent[first + i] === 1;
      sent[first + i] = 1;
      return again ? randomBytes(PAGE_BYTES) : (bytes ?? ZEROS);
    });
    this.#shell.tell({ kind: "arrived", block, first, content: Buffer.concat(known) });
  }
}
