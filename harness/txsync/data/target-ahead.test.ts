import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { PAGE_BYTES } from "../../base/page.ts";
import { waitFor } from "../../base/wait.ts";
import { RAM_BLOCK } from "../../qemu/command-line.ts";
import { COMMAND } from "../../qemu/stream/format.ts";
import { MADE_RAM_SECTION_ID, packageOf } from "../../qemu/stream/made-stream.ts";
import { StreamReader } from "../../qemu/stream/reader.ts";
import { written } from "../../qemu/stream/testing.ts";
import { decodeNote, FRAME_NOTE } from "../pages/notes.ts";
import { decodeRequest, encodePages, FRAME_REQUEST } from "../pages/page-frames.ts";
import type { Ahead, Package } from "./kept-package.ts";
import { shareUntilCovered, TargetStore } from "./target-store.ts";
import { FakeNet, FakeShell } from "./testing/fake-net.ts";
import { packed, packRuns } from "./testing/runs.ts";

const RAM_PAGES = 64;
const SMALL = "pc.bios";
const BLOCKS = [
  { name: RAM_BLOCK, bytes: RAM_PAGES * PAGE_BYTES },
  { name: SMALL, bytes: 2 * PAGE_BYTES },
];
const BASE = "00000000000000b0";
const AHEAD = "00000000000000a0";
const MACHINE = "pc-q35-10.0";
// Header, end mark: a device state without devices.
const DEVICE_STATE = Buffer.from("5145564d0000000300", "hex");
const fill = (value: number): Buffer => Buffer.alloc(PAGE_BYTES, value);

let folder: string;
let net: FakeNet;
let shell: FakeShell;
let store: TargetStore;
let qemu: PlayedQemu;

/** A QEMU that waits for a migration: reads what it is sent, answers pings, and asks for what a test says. */
class PlayedQemu {
  readonly path = join(folder, `in-${Math.random()}`);
  readonly server: Server;
  /** What it read, in order; a page as "block:page", in post-copy each one may come once only. */
  readonly read: string[] = [];
  socket: Socket | undefined;
  answers_pings = true;
  readonly #pings: number[] = [];
  bitmap: (block: string) => Buffer = () => Buffer.alloc(8);

  constructor(from: "header" | "top" = "header") {
    const named = new Map<number, string>(Object.entries(COMMAND).map(([name, number]) => [number, name]));
    this.server = createServer((socket) => {
      this.socket = socket;
      const reader = new StreamReader((record) => {
        if (record.kind === "packaged") this.read.push("packaged");
        if (record.kind === "ram-page")
          this.read.push(`${record.block}:${record.offset / PAGE_BYTES}=${record.bytes?.[0] ?? 0}`);
        if (record.kind !== "command") return;
        this.read.push(named.get(record.command) ?? "?");
        if (record.command === COMMAND.ping) {
          this.#pings.push(record.data.readUInt32BE(0));
          if (this.answers_pings) this.answer();
        }
        if (record.command === COMMAND.receivedBitmap) {
          const block = record.data.toString("latin1", 1);
          socket.write(written({ kind: "received", block, pages: this.bitmap(block) }));
        }
        if (record.command === COMMAND.postcopyResume) socket.write(written({ kind: "resume-ack", value: 1 }));
      }, from);
      socket.on("data", (chunk) => reader.push(chunk));
      socket.on("error", () => undefined);
    }).listen(this.path);
  }

  asks(page: number, block = RAM_BLOCK): void {
    this.socket?.write(written({ kind: "request", start: page * PAGE_BYTES, bytes: PAGE_BYTES, block }));
  }

  answer(): void {
    for (const value of this.#pings.splice(0)) this.socket?.write(written({ kind: "pong", value }));
    this.answers_pings = true;
  }

  pages(): string[] {
    return this.read.filter((what) => what.includes("="));
  }

  async until(what: string): Promise<void> {
    await waitFor(
      { what: `QEMU to read ${what}`, timeout_ms: 5_000, interval_ms: 1 },
      () => this.read.includes(what) || undefined,
    );
  }
}

beforeEach(() => {
  folder = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "target-ahead-"));
  net = new FakeNet();
  shell = new FakeShell("target", net, folder, 200);
  writeFileSync(shell.config.ram_path, "");
  truncateSync(shell.config.ram_path, RAM_PAGES * PAGE_BYTES);
  store = new TargetStore(shell);
  qemu = new PlayedQemu();
});
afterEach(() => {
  store.stopFeed();
  qemu.socket?.destroy();
  qemu.server.close();
  rmSync(folder, { recursive: true, force: true });
});

/** The source: says what it was told, and answers for the base. */
function source(): { readonly ready: { turn: number; frames: number }[]; readonly asked: number[] } {
  const [ready, asked]: [{ turn: number; frames: number }[], number[]] = [[], []];
  net.attach("source", async (_, payload) => {
    if (payload[0] === FRAME_NOTE) {
      const note = decodeNote(payload);
      if (note.kind === "ahead-ready") ready.push({ turn: note.turn, frames: note.frames });
    }
    if (payload[0] !== FRAME_REQUEST) return;
    for (const { block, first, count } of decodeRequest(payload).runs) {
      asked.push(first);
      const pages = Array.from({ length: count }, (_none, i) => fill(100 + first + i));
      store.pagesCame("source", Buffer.concat(encodePages({ by: "target", base: BASE, block, first, pages })));
    }
  });
  return { ready, asked };
}

function sent(base: string, first: number, pages: readonly (Buffer | null)[], block = RAM_BLOCK): void {
  store.pagesCame("source", Buffer.concat(encodePages({ by: "target", base, block, first, pages })));
}

function packageWith(ahead: Ahead): Package {
  return {
    base: BASE,
    machine: MACHINE,
    ram_section_id: MADE_RAM_SECTION_ID,
    blocks: BLOCKS,
    bytes_per_s: 0,
    ahead,
    preamble: Buffer.alloc(0),
    packaged: packageOf(DEVICE_STATE),
  };
}

/** Everything was sent but page 63: 1s, holes, and a page that is stale by now. */
async function everythingAhead(): Promise<Ahead> {
  await store.prepareAhead({ path: qemu.path, base: AHEAD, machine: MACHINE, blocks: BLOCKS, turn: 1 });
  sent(
    AHEAD,
    0,
    Array.from({ length: 63 }, (_, page) => (page >= 40 ? null : fill(1))),
  );
  sent(AHEAD, 0, [fill(2), null], SMALL);
  return {
    base: AHEAD,
    stale: packed({
      [RAM_BLOCK]: [
        [7, 1],
        [63, 1],
      ],
    }),
    frames: 2,
  };
}

test("memory comes before the VM: written behind QEMU's back, and what is stale is thrown away and comes once more", async () => {
  const { ready, asked } = source();
  const ahead = await everythingAhead();
  await qemu.until("pc.bios:1=0");
  expect(qemu.read.slice(0, 4)).toEqual(["openReturnPath", "ping", "postcopyAdvise", "ping"]);
  const file = readFileSync(shell.config.ram_path);
  expect([0, 39, 40].map((page) => file[page * PAGE_BYTES])).toEqual([1, 1, 0]);
  // However narrow the bound is what is stale is asked for at once, and comes while QEMU loads the package.
  await store.load("", { ...packageWith(ahead), bytes_per_s: 1 }, false);
  await qemu.until(`${RAM_BLOCK}:63=163`);
  expect(asked).toEqual([7, 63]);
  expect(qemu.read.slice(6)).toEqual(
    ["ramDiscard", "packaged", `${RAM_BLOCK}:7=107`, `${RAM_BLOCK}:63=163`, "ping"].slice(0, qemu.read.length - 6),
  );
  await waitFor(
    { what: "all pages", timeout_ms: 5_000, interval_ms: 1 },
    () => shell.told.some(({ kind }) => kind === "all-pages") || undefined,
  );
  expect(ready).toEqual([{ turn: 1, frames: 0 }]);
});

test("a hole that the guest, or QEMU while it loads, touches is answered with zeros, once, and nobody is asked for it", async () => {
  const { asked } = source();
  const ahead = await everythingAhead();
  await store.load("", packageWith(ahead), false);
  qemu.asks(45);
  qemu.asks(45);
  qemu.asks(46);
  await qemu.until(`${RAM_BLOCK}:46=0`);
  expect(qemu.pages().filter((page) => page.startsWith(`${RAM_BLOCK}:45`))).toEqual([`${RAM_BLOCK}:45=0`]);
  expect(asked).not.toContain(45);
  // What is in the file is never sent.
  expect(qemu.pages().some((page) => page === `${RAM_BLOCK}:3=1`)).toBe(false);
});

test("what will come once more is thrown away before the VM is here, and the source hears when it is done", async () => {
  const { ready } = source();
  const ahead = await everythingAhead();
  qemu.answers_pings = false;
  const pages = packRuns([[7, 1]]).toString("base64");
  store.aheadStale({ kind: "ahead-stale", base: AHEAD, block: RAM_BLOCK, first: 0, pages });
  const asked = store.prepareAhead({ path: qemu.path, base: AHEAD, machine: MACHINE, blocks: BLOCKS, turn: 2 });
  await qemu.until("ramDiscard");
  expect(ready).toHaveLength(1);
  qemu.answer();
  await asked;
  await waitFor({ what: "the second answer", timeout_ms: 5_000, interval_ms: 1 }, () => ready.length > 1 || undefined);
  await store.load("", packageWith(ahead), false);
  await qemu.until(`${RAM_BLOCK}:7=107`);
  // Page 63, which never came, is thrown away with the package.
  expect(qemu.read.filter((what) => what === "ramDiscard")).toHaveLength(2);
});

test("offered again over another connection, the source is told how much has come", async () => {
  const { ready } = source();
  await everythingAhead();
  await store.prepareAhead({ path: qemu.path, base: AHEAD, machine: MACHINE, blocks: BLOCKS, turn: 2 });
  await waitFor({ what: "the second answer", timeout_ms: 5_000, interval_ms: 1 }, () => ready.length > 1 || undefined);
  expect(ready.at(-1)).toEqual({ turn: 2, frames: 2 });
  const other = { path: qemu.path, base: "00000000000000ff", machine: MACHINE, blocks: BLOCKS, turn: 1 };
  await expect(store.prepareAhead(other)).rejects.toThrow(/another attempt/);
});

test("what was prepared for a QEMU that is gone is forgotten for the next one, and its memory is let go of", async () => {
  const { ready } = source();
  await everythingAhead();
  const open = (): number =>
    readdirSync("/proc/self/fd").filter((fd) => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`).startsWith(shell.config.ram_path);
      } catch {
        return false;
      }
    }).length;
  expect(open()).toBe(1);
  qemu.socket?.destroy();
  qemu.server.close();
  rmSync(shell.config.ram_path);
  writeFileSync(shell.config.ram_path, "");
  truncateSync(shell.config.ram_path, RAM_PAGES * PAGE_BYTES);
  qemu = new PlayedQemu();
  const base = "00000000000000ff";
  await store.prepareAhead({ path: qemu.path, base, machine: MACHINE, blocks: BLOCKS, turn: 1 });
  await waitFor({ what: "the answer", timeout_ms: 5_000, interval_ms: 1 }, () => ready.length > 1 || undefined);
  expect(ready.at(-1)).toEqual({ turn: 1, frames: 0 });
  sent(base, 0, [fill(3)]);
  expect(readFileSync(shell.config.ram_path)[0]).toBe(3);
  expect(open()).toBe(1);
});

test("one that is forgotten while it is prepared is not there afterwards", async () => {
  source();
  const preparing = store.prepareAhead({ path: qemu.path, base: AHEAD, machine: MACHINE, blocks: BLOCKS, turn: 1 });
  store.stopFeed();
  await expect(preparing).rejects.toThrow(/not wanted any more/);
  await expect(store.load("", packageWith({ base: AHEAD, stale: {}, frames: 0 }), false)).rejects.toThrow(/not here/);
});

test("a package whose memory did not come whole, or not at all, is refused: nothing runs", async () => {
  source();
  const whole = await everythingAhead();
  const lacks: Ahead = { base: AHEAD, stale: whole.stale, frames: 3 };
  await expect(store.load("", packageWith(lacks), false)).rejects.toThrow(/last pages that were copied ahead/);
  expect(qemu.read).not.toContain("packaged");
  store.stopFeed();
  await expect(store.load("", packageWith(whole), false)).rejects.toThrow(/not here any more/);
});

test("pages that nobody waits for leave room for the escrow's copy, where that can be of use", () => {
  expect(shareUntilCovered(undefined)).toBe(0.5);
  // One bound for both, and most of it is at the escrow.
  expect(shareUntilCovered({ frames: 0 })).toBe(0.25);
  expect(shareUntilCovered({ frames: 1 })).toBe(1);
});

test("after a recovery the agent's account counts: what was written ahead is not asked for, and holes are still zeros", async () => {
  const { asked } = source();
  const ahead: Ahead = {
    base: AHEAD,
    stale: packed({
      [RAM_BLOCK]: [
        [7, 1],
        [60, 4],
      ],
    }),
    frames: 2,
  };
  qemu.server.close();
  qemu = new PlayedQemu("top");
  // Of the stale ones it has 7; the small block came in its stream.
  qemu.bitmap = (block) =>
    block === RAM_BLOCK ? Buffer.of(0x80, 0, 0, 0, 0, 0, 0, 0) : Buffer.of(3, 0, 0, 0, 0, 0, 0, 0);
  const { count, total } = await store.recover(qemu.path, packageWith(ahead));
  expect([count, total]).toEqual([RAM_PAGES + 2 - 4, RAM_PAGES + 2]);
  qemu.asks(45);
  await qemu.until(`${RAM_BLOCK}:45=0`);
  await qemu.until(`${RAM_BLOCK}:63=163`);
  expect(asked).toEqual([60]);
});
