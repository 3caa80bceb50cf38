import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { PAGE_BYTES } from "../../base/page.ts";
import { waitFor } from "../../base/wait.ts";
import { RAM_BLOCK } from "../../qemu/command-line.ts";
import type { PageToWrite } from "../../qemu/stream/writer.ts";
import { GuestMemory } from "../dirty/testing/memory.ts";
import { BUILD_MS, buildNative, canBuildNative, type NativeTools } from "../dirty/testing/native.ts";
import { openTracker } from "../dirty/tracker.ts";
import { decodeNote, encodeNote, FRAME_NOTE, type Note } from "../pages/notes.ts";
import { decodePages, FRAME_PAGES } from "../pages/page-frames.ts";
import type { TargetFeed } from "../relay/feed.ts";
import { AheadIntake } from "./ahead-intake.ts";
import { RecordedChanges, TrackedChanges } from "./changes.ts";
import type { PackedPages } from "./kept-package.ts";
import { MemoryAhead } from "./memory-ahead.ts";
import { Rate } from "./rate.ts";
import { FakeNet, FakeShell } from "./testing/fake-net.ts";
import { unpacked } from "./testing/runs.ts";

const PAGES = [1200, 12] as const;
const SMALL = "pc.bios";

/** Source and target of memory that is copied ahead: real memory of a process, real notes of the kernel, a real file. */
class Two implements AsyncDisposable {
  readonly net = new FakeNet();
  readonly folder: string;
  readonly shell: FakeShell;
  readonly guest: GuestMemory;
  readonly streamed = new Map<string, Buffer>();
  memory: MemoryAhead | undefined;
  intake: AheadIntake | undefined;
  /** What was thrown away while the guest still ran. */
  readonly thrown: string[] = [];
  /** What happens while the pages are on their way: called at every frame. */
  onFrame: () => Promise<void> = async () => undefined;
  frames = 0;

  private constructor(guest: GuestMemory) {
    this.guest = guest;
    this.folder = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "memory-ahead-"));
    this.shell = new FakeShell("source", this.net, this.folder);
    writeFileSync(this.ram_path, "");
    truncateSync(this.ram_path, PAGES[0] * PAGE_BYTES);
    this.net.attach("target", async (_, payload) => await this.#came(payload));
    this.net.attach("source", async (_, payload) => {
      const note = payload[0] === FRAME_NOTE ? decodeNote(payload) : undefined;
      if (note?.kind === "ahead-ready") this.memory?.ready(note);
    });
  }

  get ram_path(): string {
    return join(this.folder, "target-ram");
  }

  static async start(tools: NativeTools): Promise<Two> {
    const guest = await GuestMemory.start(tools, PAGES);
    await guest.end();
    return new Two(guest);
  }

  async #came(payload: Buffer): Promise<void> {
    if (payload[0] === FRAME_NOTE) {
      const note = decodeNote(payload);
      if (note.kind === "ahead-stale") {
        this.thrown.push(...this.#throwAway(note));
        return;
      }
      if (note.kind !== "ahead-offered") return;
      const writePages = (pages: readonly PageToWrite[]): void => {
        for (const { block, page, bytes } of pages)
          this.streamed.set(`${block}:${page}`, Buffer.from(bytes ?? Buffer.alloc(PAGE_BYTES)));
      };
      const feed = { writePages, write: () => undefined, ping: () => undefined } as unknown as TargetFeed;
      this.intake ??= new AheadIntake(note.base, note.blocks, feed, this.ram_path);
      this.net
        .peersOf("target")
        .sendData(
          "source",
          "bulk",
          encodeNote({ kind: "ahead-ready", base: note.base, turn: note.turn, frames: this.intake.frames }),
        );
    } else if (payload[0] === FRAME_PAGES) {
      this.frames += 1;
      await this.onFrame();
      this.intake?.take(decodePages(payload));
    }
  }

  #throwAway({ block, first, pages }: Extract<Note, { kind: "ahead-stale" }>): string[] {
    const stale = Buffer.from(pages, "base64");
    this.intake?.throwAway(block, first, stale);
    return [...keysOf({ [block]: stale })];
  }

  /** Of a protected VM where `protect` is given: told its changes, from which transactions are to be noted. */
  async open(
    tools: NativeTools,
    look_every_ms?: number,
    protect?: (changes: RecordedChanges) => void,
  ): Promise<MemoryAhead | string> {
    const { pid, blocks, folder, status_path: shim_status_path } = this.guest;
    const ram = blocks.find(({ name }) => name === RAM_BLOCK)?.where;
    const ram_path = ram?.kind === "file" ? ram.path : "";
    const options = { pid, blocks, folder, shim_status_path, ram_path, pagescan: tools.pagescan };
    const recorded = new RecordedChanges(options);
    const changes = protect === undefined ? await TrackedChanges.open(options) : recorded;
    if (typeof changes === "string") return changes;
    protect?.(recorded);
    this.memory = await MemoryAhead.open(this.shell, new Rate(0), options, changes, "pc-q35-10.0", look_every_ms);
    return this.memory;
  }

  /** A guest that has written all of its memory, which is offered to the target. */
  async offerWhole(tools: NativeTools, look_every_ms?: number): Promise<MemoryAhead | string> {
    for (let page = 0; page < PAGES[0]; page += 1) await this.guest.write(0, page, 1);
    const memory = await this.open(tools, look_every_ms);
    if (typeof memory !== "string") await memory.offer("pc-q35-10.0");
    return memory;
  }

  /** Pages of the guest, which stands still, that the target would have otherwise. */
  wrong(is_stale: ReadonlySet<string>): string[] {
    const wrong: string[] = [];
    const [ram, small] = this.guest.blocks;
    const source = readFileSync(ram?.where.kind === "file" ? ram.where.path : "");
    const target = readFileSync(this.ram_path);
    for (let at = 0; at < source.length; at += PAGE_BYTES) {
      const key = `${RAM_BLOCK}:${at / PAGE_BYTES}`;
      if (!is_stale.has(key) && source.compare(target, at, at + PAGE_BYTES, at, at + PAGE_BYTES) !== 0) wrong.push(key);
    }
    const memory = openSync(`/proc/${this.guest.pid}/mem`, "r");
    for (let page = 0; page < PAGES[1]; page += 1) {
      const key = `${SMALL}:${page}`;
      const content = Buffer.alloc(PAGE_BYTES);
      const address = small?.where.kind === "process" ? Number(small.where.address) : 0;
      readSync(memory, content, 0, PAGE_BYTES, address + page * PAGE_BYTES);
      if (!is_stale.has(key) && !this.streamed.get(key)?.equals(content)) wrong.push(key);
    }
    closeSync(memory);
    return wrong;
  }

  /** The same of a guest that writes no more, when the last look was made. */
  async wrongInTheEnd(memory: MemoryAhead): Promise<string[]> {
    this.onFrame = async () => undefined;
    const { ahead } = await memory.finish();
    return this.wrong(keysOf(ahead.stale));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.memory?.close();
    this.intake?.close();
    await this.guest[Symbol.asyncDispose]();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

function keysOf(stale: PackedPages): Set<string> {
  return new Set(
    Object.entries(unpacked(stale)).flatMap(([block, runs]) =>
      runs.flatMap(([first, count]) => Array.from({ length: count }, (_, i) => `${block}:${first + i}`)),
    ),
  );
}

describe.skipIf(!canBuildNative())("memory ahead to the target", () => {
  let tools: NativeTools;
  beforeAll(() => {
    tools = buildNative();
  }, BUILD_MS);
  afterAll(() => tools[Symbol.dispose]());

  test.each([
    [1, undefined],
    [2, undefined],
    [3, 0],
    [4, 0],
  ])("whatever the guest writes meanwhile, what is not stale is what it has (%i, %s)", async (seed, look_every_ms) => {
    await using two = await Two.start(tools);
    const { guest } = two;
    for (let page = 0; page < 600; page += 1) await guest.write(0, page * 2, 1 + (page % 3));
    await guest.write(1, 3, 5);
    const memory = await two.open(tools, look_every_ms);
    if (typeof memory === "string") return;
    await memory.offer("pc-q35-10.0");
    // A guest that writes here and there, zeros too, and once into a small block.
    let [state, written] = [seed, 0];
    two.onFrame = async () => {
      for (let i = 0; i < 4 && written < 150; i += 1, written += 1) {
        state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
        await guest.write(0, (state >>> 8) % PAGES[0], (state >>> 4) % 4);
      }
      if (two.frames === 5) await guest.write(1, 7, 9);
    };
    const rounds = await memory.send(60_000);
    expect(rounds.rounds).toBeGreaterThan(1);
    // It stands still when the last that it wrote is written.
    two.onFrame = async () => undefined;
    await two.net.peersOf("source").drained("target", "bulk", 0);
    for (let i = 0; i < 9; i += 1) await guest.write(0, 100 + i * 11, i % 3);
    await guest.write(1, 2, 4);
    const { ahead, small, stale_pages } = await memory.finish();
    const stale = keysOf(ahead.stale);
    expect(stale.size).toBe(stale_pages);
    expect([...stale]).toEqual(expect.arrayContaining(["ram0:100", "ram0:188", `${SMALL}:2`]));
    expect(stale.size).toBeLessThan(200);
    expect(small.find(({ name }) => name === SMALL)?.content.readUInt32LE(2 * PAGE_BYTES)).toBe(
      Math.imul(4, 2_654_435_761) >>> 0,
    );
    await Promise.all([two.net.peersOf("source").drained("target", "bulk", 0)]);
    expect(two.intake?.hasAll(ahead)).toBe(true);
    expect(two.wrong(stale)).toEqual([]);
    expect(two.intake?.settle(ahead).length).toBeGreaterThan(0);
  });

  test("a guest that wrote nothing: one page comes once more, or QEMU would not run", async () => {
    await using two = await Two.start(tools);
    await two.guest.write(0, 1, 1);
    const memory = await two.open(tools);
    if (typeof memory === "string") return;
    await memory.offer("pc-q35-10.0");
    expect(await memory.send(60_000)).toMatchObject({ left_pages: 0 });
    const { ahead, stale_pages } = await memory.finish();
    expect([unpacked(ahead.stale), stale_pages]).toEqual([{ [RAM_BLOCK]: [[0, 1]] }, 1]);
    await two.net.peersOf("source").drained("target", "bulk", 0);
    expect(two.intake?.settle(ahead)).toHaveLength(1);
  });

  test("time that is up does not keep memory from going once: only from being sent again", async () => {
    await using two = await Two.start(tools);
    const memory = await two.offerWhole(tools);
    if (typeof memory === "string") return;
    expect(await memory.send(0)).toMatchObject({ rounds: 1, sent_pages: PAGES[0] + PAGES[1], left_pages: 0 });
  });

  test("what the guest wrote before its turn came does not go twice", async () => {
    await using two = await Two.start(tools);
    const memory = await two.offerWhole(tools, 0);
    if (typeof memory === "string") return;
    two.onFrame = async () => {
      // Long before it is read, and noted before that.
      if (two.frames === 2) for (let page = 1_000; page < 1_100; page += 1) await two.guest.write(0, page, 2);
    };
    const { sent_pages } = await memory.send(60_000);
    two.onFrame = async () => undefined;
    expect(sent_pages).toBe(PAGES[0] + PAGES[1]);
    const { ahead } = await memory.finish();
    await two.net.peersOf("source").drained("target", "bulk", 0);
    expect(two.wrong(keysOf(ahead.stale))).toEqual([]);
  });

  test("nor of one that is protected, as soon as a transaction has found it", async () => {
    await using two = await Two.start(tools);
    const { pid, blocks, folder, status_path: shim_status_path } = two.guest;
    for (let page = 0; page < PAGES[0]; page += 1) await two.guest.write(0, page, 1);
    await using tracker = await openTracker({
      pagescan: tools.pagescan,
      pid,
      blocks,
      folder,
      shim_status_path,
      prefer: "auto",
    });
    await tracker.arm();
    let told: RecordedChanges | undefined;
    let n = 0;
    const takes = async (): Promise<void> => {
      n += 1;
      await tracker.take(n, n - 1);
      told?.note((await tracker.collect()).spool);
      await tracker.release();
    };
    const memory = await two.open(tools, 0, (changes) => {
      told = changes;
    });
    if (typeof memory === "string") throw new Error(memory);
    await memory.offer("pc-q35-10.0");
    two.onFrame = async () => {
      if (two.frames !== 2) return;
      // Page 3 went before it was written, the others are written before they go.
      for (const page of [3, 1_000, 1_001, 1_002]) await two.guest.write(0, page, 2);
      await takes();
    };
    const sending = memory.send(60_000);
    const sent = sending.then(() => true);
    // The end of a round waits for a transaction that was taken after it.
    while (!(await Promise.race([sent, delay(5, false)]))) if (two.frames >= PAGES[0] / 64) await takes();
    expect((await sending).left_pages).toBe(1);
    two.onFrame = async () => undefined;
    await two.guest.write(0, 1_001, 3);
    await takes();
    told?.still();
    const { ahead } = await memory.finish();
    await two.net.peersOf("source").drained("target", "bulk", 0);
    expect(keysOf(ahead.stale)).toEqual(new Set([`${RAM_BLOCK}:3`, `${RAM_BLOCK}:1001`]));
    expect(two.wrong(keysOf(ahead.stale))).toEqual([]);
  });

  test.each([
    ["little is left", 60_000, 0],
    ["the guest writes as fast as is sent", 60_000, 400],
    ["time is up", 0, 400],
  ])("nothing is on its way any more when it is over because %s", async (_, most_ms, writes) => {
    await using two = await Two.start(tools);
    const memory = await two.offerWhole(tools);
    if (typeof memory === "string") return;
    let version = 1;
    two.onFrame = async () => {
      if (two.frames % 8 !== 1) return;
      version += 1;
      for (let page = 0; page < writes; page += 1) await two.guest.write(0, page * 3, version);
    };
    await memory.send(most_ms);
    // The guest stands still: however slow the connection is, the package need not wait for it.
    two.net.stall();
    const { ahead } = await memory.finish();
    expect(two.intake?.hasAll(ahead)).toBe(true);
    expect(two.wrong(keysOf(ahead.stale))).toEqual([]);
  });

  test("a guest that writes two thirds of its memory again within the time that sending it takes is not run after", async () => {
    await using two = await Two.start(tools);
    const memory = await two.offerWhole(tools, 0);
    if (typeof memory === "string") return;
    let next = 0;
    two.onFrame = async () => {
      for (let i = 0; i < 160; i += 1, next += 1) await two.guest.write(0, next % 800, two.frames);
    };
    const { rounds, left_pages } = await memory.send(60_000);
    expect(rounds).toBe(1);
    expect(left_pages).toBe(800);
    expect(await two.wrongInTheEnd(memory)).toEqual([]);
  });

  test("a few pages that are written all the time keep no other from being sent once more", async () => {
    await using two = await Two.start(tools);
    const memory = await two.offerWhole(tools, 0);
    if (typeof memory === "string") return;
    const whole = Math.floor(PAGES[0] / 64);
    two.onFrame = async () => {
      for (let page = 0; page < 40; page += 1) await two.guest.write(0, page, two.frames);
      // And of what has just gone some, once each.
      const first = (two.frames - 2) * 64;
      for (let page = 0; two.frames >= 3 && two.frames <= whole && page < 30; page += 1)
        await two.guest.write(0, first + page, 2);
    };
    const { rounds, left_pages } = await memory.send(60_000);
    expect(rounds).toBeGreaterThan(1);
    expect(left_pages).toBeLessThan(200);
    expect(await two.wrongInTheEnd(memory)).toEqual([]);
  });

  test("what is stale in one piece is thrown away before it stands still as well: each page of it takes its time", async () => {
    await using two = await Two.start(tools);
    const memory = await two.offerWhole(tools);
    if (typeof memory === "string") return;
    two.onFrame = async () => {
      for (let page = 0; two.frames > 16 && page < 1_100; page += 1) await two.guest.write(0, page, two.frames);
    };
    await memory.send(60_000);
    expect(two.thrown).toHaveLength(1_100);
    expect(await two.wrongInTheEnd(memory)).toEqual([]);
  });

  /** A guest that writes every third page again while pages are on their way: most of that is stale in the end. */
  const busy = async (two: Two): Promise<MemoryAhead | string> => {
    const memory = await two.offerWhole(tools);
    if (typeof memory === "string") return memory;
    let version = 1;
    two.onFrame = async () => {
      if (two.frames % 6 !== 1) return;
      version += 1;
      for (let page = 0; page < PAGES[0]; page += 3) await two.guest.write(0, page, version);
    };
    return memory;
  };

  test("of a guest that writes as fast as is sent what is stale anyway is thrown away before it stands still, once", async () => {
    await using two = await Two.start(tools);
    const memory = await busy(two);
    if (typeof memory === "string") return;
    await memory.send(60_000);
    expect(two.thrown.length).toBeGreaterThanOrEqual(400);
    expect(new Set(two.thrown).size).toBe(two.thrown.length);
    for (let page = 1; page < 200; page += 1) await two.guest.write(0, page, 3);
    const { ahead } = await memory.finish();
    const stale = keysOf(ahead.stale);
    // It is in the package all the same: a target that heard nothing of it throws it away then.
    expect([...stale]).toEqual(expect.arrayContaining(two.thrown));
    expect(two.wrong(stale)).toEqual([]);
    const settled = two.intake?.settle(ahead) ?? [];
    expect(settled.reduce((sum, { length }) => sum + length, 0)).toBeLessThan(200 * 16 + 100);
  });

  test.each([
    ["is lost with its connection", true],
    ["was heard before its connection broke", false],
  ])("where the word of what is stale %s the package says it all the same", async (_, is_lost) => {
    await using two = await Two.start(tools);
    const memory = await busy(two);
    if (typeof memory === "string") return;
    let breaks = 0;
    two.net.onWay = (from, to, payload) => {
      const stale = from === "source" && payload[0] === FRAME_NOTE && decodeNote(payload).kind === "ahead-stale";
      if (!stale || to !== "target" || breaks > 0) return payload;
      breaks += 1;
      two.net.breakBetween("source", "target");
      return is_lost ? null : payload;
    };
    await memory.send(60_000);
    expect([breaks, two.thrown.length > 0]).toEqual([1, !is_lost]);
    const { ahead } = await memory.finish();
    expect(two.wrong(keysOf(ahead.stale))).toEqual([]);
    expect(two.intake?.hasAll(ahead)).toBe(true);
    expect((two.intake?.settle(ahead) ?? []).length > 0).toBe(is_lost);
  });

  test("a target that has no more what it had of it is not sent the rest: its QEMU is another one", async () => {
    await using two = await Two.start(tools);
    const memory = await two.offerWhole(tools);
    if (typeof memory === "string") return;
    await memory.send(60_000);
    two.intake?.close();
    two.intake = undefined;
    await expect(memory.offer("pc-q35-10.0")).rejects.toThrow(/has no more what it had/);
  });

  test("what is on its way for long is asked about once: questions do not pile up behind it", async () => {
    await using two = await Two.start(tools);
    await two.guest.write(0, 1, 1);
    const memory = await two.open(tools);
    if (typeof memory === "string") return;
    await memory.offer("pc-q35-10.0");
    let asked = 0;
    two.net.onWay = (_, to, payload) => {
      if (to === "target" && payload[0] === FRAME_NOTE) asked += 1;
      return payload;
    };
    two.net.stall();
    const sending = memory.send(60_000);
    await delay(100);
    two.net.flow();
    await sending;
    expect(asked).toBeLessThanOrEqual(2);
  });

  test("tells what changes while others are sent pages of it, until they have them", async () => {
    await using two = await Two.start(tools);
    await two.guest.write(0, 5, 1);
    const memory = await two.open(tools, 1);
    if (typeof memory === "string") return;
    await memory.offer("pc-q35-10.0");
    const changed = new Set<number>();
    memory.onChanged = (runs) => {
      for (const { block, first, count } of runs)
        if (block === RAM_BLOCK) for (let page = first; page < first + count; page += 1) changed.add(page);
    };
    const sent = Promise.withResolvers<void>();
    const looking = memory.lookUntil(sent.promise);
    await two.guest.write(0, 7, 2);
    await waitFor(
      { what: "the write to be told", timeout_ms: 5_000, interval_ms: 1 },
      () => changed.has(7) || undefined,
    );
    sent.resolve();
    await looking;
    expect(changed.has(5)).toBe(false);
  });

  test("nothing ahead: everything is stale", async () => {
    await using two = await Two.start(tools);
    const memory = await two.open(tools);
    if (typeof memory === "string") return;
    await memory.offer("pc-q35-10.0");
    // Nothing went over it.
    two.net.breakBetween("source", "target");
    const { ahead } = await memory.finish();
    expect(unpacked(ahead.stale)).toEqual({ [RAM_BLOCK]: [[0, PAGES[0]]], [SMALL]: [[0, PAGES[1]]] });
    expect(two.intake?.settle(ahead)).toHaveLength(2);
  });

  test("connections that break on the way lose some of it, which is sent again", async () => {
    await using two = await Two.start(tools);
    for (let page = 0; page < PAGES[0]; page += 1) await two.guest.write(0, page, 1 + (page % 2));
    const memory = await two.open(tools);
    if (typeof memory === "string") return;
    await memory.offer("pc-q35-10.0");
    const breaks: Promise<void>[] = [];
    two.onFrame = async () => {
      if (![3, 4, 9, 15].includes(two.frames)) return;
      // Some more is on its way when it breaks.
      two.net.stall();
      const broken = new Promise<void>((resolve) => setTimeout(resolve, 20));
      breaks.push(
        broken.then(() => {
          two.net.breakBetween("source", "target");
          two.net.flow();
        }),
      );
    };
    const first = await memory.send(60_000);
    two.onFrame = async () => undefined;
    await Promise.all(breaks);
    // The end of it may have been lost when it was all sent.
    const second = await memory.send(60_000);
    const [sent_pages, left_pages] = [first.sent_pages + second.sent_pages, second.left_pages];
    // As little as where nothing breaks.
    expect(left_pages).toBeLessThanOrEqual(12);
    expect(sent_pages).toBeGreaterThan(PAGES[0] + PAGES[1]);
    const { ahead } = await memory.finish();
    await two.net.peersOf("source").drained("target", "bulk", 0);
    expect(two.intake?.hasAll(ahead)).toBe(true);
    expect(two.wrong(keysOf(ahead.stale))).toEqual([]);
  });

  test("one that breaks when the guest stands still, or a word to give up, ends it", async () => {
    await using two = await Two.start(tools);
    await two.guest.write(0, 1, 1);
    const memory = await two.open(tools);
    if (typeof memory === "string") return;
    await memory.offer("pc-q35-10.0");
    await memory.send(60_000);
    two.net.breakBetween("source", "target");
    await expect(memory.finish()).rejects.toThrow(/connection .* is gone/);
    memory.giveUp();
    await expect(memory.send(60_000)).rejects.toThrow(/not copied ahead any more/);
  });

  test("where the kernel notes nothing, nothing is begun", async () => {
    await using two = await Two.start(tools);
    const { pid, blocks, folder } = two.guest;
    const options = {
      pid,
      blocks,
      folder,
      shim_status_path: join(folder, "none"),
      ram_path: "",
      pagescan: tools.pagescan,
    };
    expect(await TrackedChanges.open(options)).toMatch(/without the preloaded library/);
  });
});
