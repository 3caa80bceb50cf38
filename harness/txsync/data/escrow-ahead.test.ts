import { existsSync, linkSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { waitFor } from "../../base/wait.ts";
import { RAM_BLOCK } from "../../qemu/command-line.ts";
import { GuestMemory } from "../dirty/testing/memory.ts";
import { BUILD_MS, buildNative, canBuildNative, type NativeTools } from "../dirty/testing/native.ts";
import { decodeNote, encodeNote, FRAME_NOTE, type Note } from "../pages/notes.ts";
import { FRAME_PAGES, FRAME_REQUEST } from "../pages/page-frames.ts";
import { EscrowStore } from "./escrow-store.ts";
import type { DataConfig } from "./protocol.ts";
import { SourceStore } from "./source-store.ts";
import { FakeNet, FakeShell } from "./testing/fake-net.ts";

const PAGES = [1200, 12] as const;
const SHARE = 0.75;
const BASE = "00000000000000b0";

/** A source whose guest's memory is real, and the escrow: a share of it is copied there before switchover. */
class Pair implements AsyncDisposable {
  readonly net = new FakeNet();
  readonly folder = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "escrow-ahead-"));
  readonly guest: GuestMemory;
  readonly source: SourceStore;
  readonly escrow_shell: FakeShell;
  readonly offers: Extract<Note, { kind: "base-offered" }>[] = [];
  escrow: EscrowStore | undefined;
  frames = 0;
  /** Called with each frame of pages that comes to the escrow, before it is taken. */
  onPages: (frame: number) => Promise<void> = async () => undefined;
  #written: Promise<void> = Promise.resolve();
  readonly #ticking: NodeJS.Timeout;

  private constructor(tools: NativeTools, guest: GuestMemory) {
    this.guest = guest;
    const shell = new FakeShell("source", this.net, guest.folder);
    const config: DataConfig = { ...shell.config, ram_path: this.#ram_path, pagescan: tools.pagescan };
    this.source = new SourceStore({ config, peers: shell.peers, emit: shell.emit, tell: shell.tell });
    this.escrow_shell = new FakeShell("escrow", this.net, this.folder);
    this.net.attach("source", async (from, payload) => {
      if (payload[0] === FRAME_REQUEST) await this.source.requested(from, payload, "bulk");
      if (payload[0] !== FRAME_NOTE) return;
      const note = decodeNote(payload);
      if (note.kind === "base-held") this.source.baseHeld(note);
      if (note.kind === "ahead-ready") this.source.aheadReady(note);
    });
    this.net.attach("target", async (_, payload) => {
      if (payload[0] !== FRAME_NOTE) return;
      const note = decodeNote(payload);
      if (note.kind !== "ahead-offered") return;
      const ready = encodeNote({ kind: "ahead-ready", base: note.base, turn: note.turn, frames: 0 });
      this.net.peersOf("target").sendData("source", "bulk", ready);
    });
    this.net.attach("escrow", async (from, payload) => {
      if (payload[0] === FRAME_NOTE) {
        const note = decodeNote(payload);
        if (note.kind === "base-offered" && note.base !== this.offers.at(-1)?.base) this.offers.push(note);
        this.escrow?.note(from, note);
      }
      if (payload[0] !== FRAME_PAGES) return;
      this.frames += 1;
      this.#written = this.onPages(this.frames);
      await this.#written;
      this.escrow?.pagesCame(payload);
    });
    this.#ticking = setInterval(() => this.source.offer(), 20);
  }

  static async start(tools: NativeTools): Promise<Pair> {
    const guest = await GuestMemory.start(tools, PAGES);
    await guest.end();
    const pair = new Pair(tools, guest);
    pair.escrow = await EscrowStore.open(pair.escrow_shell);
    return pair;
  }

  get #ram_path(): string {
    const where = this.guest.blocks.find(({ name }) => name === RAM_BLOCK)?.where;
    return where?.kind === "file" ? where.path : "";
  }

  /** @returns whether memory is tracked here */
  async copyAhead(most_ms = 60_000): Promise<boolean> {
    const { pid, blocks, folder, status_path: shim_status_path } = this.guest;
    const what = { pid, blocks, folder, shim_status_path, bytes_per_s: 0, memory: false, share: SHARE, most_ms };
    return (await this.source.pushAhead({ ...what, machine: "pc-q35-10.0", by_records: false })).tracked;
  }

  /** The guest stands still: what the escrow is told has changed, and everything there in the end. */
  async switchOver(): Promise<{ readonly changed_pages: number; readonly same: boolean }> {
    this.onPages = async () => undefined;
    await this.#written;
    const finished = await this.source.finishAhead();
    const { blocks } = this.guest;
    const { base_path } = this;
    linkSync(this.#ram_path, base_path);
    this.source.haveBase({ base: BASE, blocks, small: finished.small, compare: true });
    this.source.serve();
    await waitFor(
      { what: "the escrow's copy to be complete", timeout_ms: 10_000, interval_ms: 2 },
      () => this.escrow_shell.told.some(({ kind }) => kind === "base-complete") || undefined,
    );
    const final = this.offers.find(({ base }) => base === BASE);
    const changed_pages = (final?.changed[RAM_BLOCK] ?? []).reduce((sum, [, count]) => sum + count, 0);
    const same = readFileSync(join(this.folder, "base-copy")).equals(readFileSync(this.#ram_path));
    return { changed_pages: final?.from === null ? Number.NaN : changed_pages, same };
  }

  get base_path(): string {
    return join(this.guest.folder, "base");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#ticking);
    await this.source.giveUpAhead();
    this.source.forget();
    await this.escrow?.close();
    this.escrow?.forget();
    await this.guest[Symbol.asyncDispose]();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

describe.skipIf(!canBuildNative())("a share of memory to the escrow, ahead", () => {
  let tools: NativeTools;
  beforeAll(() => {
    tools = buildNative();
  }, BUILD_MS);
  afterAll(() => tools[Symbol.dispose]());

  test("what changed while it was copied goes there once more before switchover", async () => {
    await using pair = await Pair.start(tools);
    for (let page = 0; page < PAGES[0]; page += 1) await pair.guest.write(0, page, 1 + (page % 2));
    let version = 10;
    pair.onPages = async (frame) => {
      // Pages of the half that goes first, most of them there already: in the first round, and fewer in the second. With its
      // first frames: what comes with those behind the share that is waited for would be written when that round is over.
      const first = frame <= 8 ? [1199 - frame, 1100 + frame, 900 + frame] : [];
      const pages = pair.offers.length === 1 ? first : frame % 8 === 0 ? [1000] : [];
      for (const page of pages) await pair.guest.write(0, page, ++version);
    };
    if (!(await pair.copyAhead())) return;
    expect(pair.offers.length).toBeGreaterThan(1);
    expect(pair.offers[1]?.from).toBe(pair.offers[0]?.base);
    await pair.guest.write(0, 1150, ++version);
    await pair.guest.write(0, 3, ++version);
    const { changed_pages, same } = await pair.switchOver();
    expect(same).toBe(true);
    // One that was written after its round, and perhaps the one that is written again and again.
    expect(changed_pages).toBeGreaterThan(0);
    expect(changed_pages).toBeLessThanOrEqual(12);
  });

  test("an escrow that loses what it had in between begins anew, and nothing old is taken for new", async () => {
    await using pair = await Pair.start(tools);
    for (let page = 0; page < PAGES[0]; page += 1) await pair.guest.write(0, page, 1 + (page % 2));
    let version = 10;
    let broken = false;
    pair.onPages = async (frame) => {
      // More than is little enough to end with, whichever of them are there by then.
      for (const page of [1199, 1150, 1100]) await pair.guest.write(0, page - (frame % 40), ++version);
      if (pair.offers.length >= 2 && !broken) breaks();
    };
    const breaks = (): void => {
      broken = true;
      pair.escrow?.forget();
      pair.net.breakBetween("source", "escrow");
    };
    if (!(await pair.copyAhead())) return;
    // Where the guest writes as fast as is sent, as on a busy machine, there is one round: then between that and the last.
    if (!broken) breaks();
    expect((await pair.switchOver()).same).toBe(true);
  });
});
