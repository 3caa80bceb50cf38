import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { PAGE_BYTES } from "../../base/page.ts";
import { readSpool, type SpoolBatch } from "./spool.ts";
import { BLOCK_NAMES, contentOf, GuestMemory } from "./testing/memory.ts";
import { BUILD_MS, buildNative, canBuildNative, type NativeTools } from "./testing/native.ts";
import { Ordeal, type Seen, steps } from "./testing/ordeal.ts";
import { openTracker, type PagescanTracker, type TrackerOptions } from "./tracker.ts";

const RUNS = Number(process.env["FERRYMAN_ORDEALS"] ?? 30);

describe.skipIf(!canBuildNative())("the pages that changed, whatever happens meanwhile", () => {
  let tools: NativeTools;
  beforeAll(() => {
    tools = buildNative();
  }, BUILD_MS);
  afterAll(() => tools[Symbol.dispose]());

  async function guestOf(): Promise<GuestMemory> {
    return await GuestMemory.start(tools, Ordeal.pages);
  }

  test.each(["auto", "sure"] as const)("base and log are the memory, and have its digest (%s)", async (prefer) => {
    const seen: Seen = { stored: 0, modes: new Set(), pages: 0 };
    await fc.assert(
      fc.asyncProperty(steps, async (all) => {
        await using guest = await guestOf();
        await using ordeal = new Ordeal(tools, guest, prefer, seen);
        await ordeal.run(all);
      }),
      { numRuns: RUNS },
    );
    process.stdout.write(`${prefer}: ${JSON.stringify({ ...seen, modes: [...seen.modes] })}\n`);
    expect(seen.stored).toBeGreaterThanOrEqual(2 * RUNS);
  });

  test("notes of the kernel's that are lost without a trace are missed, and the ordeal sees it", async ({ skip }) => {
    await using guest = await guestOf();
    if (!guest.tracked) skip("the kernel notes nothing here");
    const at = { block: 0, page: 3 } as const;
    const store = { since_base: false, meanwhile: [], fate: "stored", spins: 0 } as const;
    await using ordeal = new Ordeal(tools, guest, "auto", { stored: 0, modes: new Set(), pages: 0 });
    const lost = ordeal.run([
      { kind: "arrive", place: at, count: 1, told: "never" },
      { kind: "take", ...store },
      { kind: "write", place: at, version: 1 },
      { kind: "lose" },
    ]);
    await expect(lost).rejects.toThrow(/page ram0:3 is not in the log/);
  });

  test.each(["auto", "sure"] as const)(
    "a helper that goes first finds the same, by as many threads (%s)",
    async (prefer) => {
      await using guest = await guestOf();
      if (prefer === "auto" && !guest.tracked) return;
      const { pid, blocks, folder } = guest;
      const options = { pagescan: tools.pagescan, pid, blocks, folder, prefer, threads: 2, long_pages: 1, first: true };
      await guest.place(0, 1, 1);
      await guest.place(0, 2, 1);
      await guest.write(0, 1, 2);
      await using tracker = await openTracker(options);
      expect(tracker.mode).toBe(prefer === "sure" ? "sure" : "quick");
      expect((await tracker.take(1, 0)).pages).toBe(prefer === "sure" ? 2 : 1);
      await tracker.collect();
      await tracker.release();
      await guest.write(0, 2, 3);
      expect((await tracker.take(2, 1)).pages).toBe(1);
    },
  );

  test("has another thread go first where the kernel promises it, or says why not", async () => {
    const sleeper = spawn("sh", ["-c", "read x"], { stdio: ["pipe", "ignore", "ignore"] });
    await once(sleeper, "spawn");
    try {
      const ask = (words: string[]): string => {
        try {
          execFileSync(tools.pagescan, ["first", `${sleeper.pid}`, ...words], { stdio: "pipe" });
          return "done";
        } catch (error) {
          return String((error as { stderr?: Buffer }).stderr);
        }
      };
      // More in a period than there is.
      expect(ask(["2000", "1000"])).toMatch(/^pagescan: no deadline for thread \d+: Invalid argument\n$/);
      const said = ask(["1000", "100000"]);
      // proc(5): the forty-first field of stat is the policy; 6 is SCHED_DEADLINE.
      const stat = readFileSync(`/proc/${sleeper.pid}/stat`, "utf8");
      const policy = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[38];
      expect([said, policy]).toEqual(said === "done" ? ["done", "6"] : [expect.stringMatching(/no deadline/), "0"]);
    } finally {
      sleeper.kill("SIGKILL");
    }
  });

  test("a spool is nobody else's until it is released", async () => {
    await using guest = await guestOf();
    await guest.place(0, 1, 1);
    await guest.place(0, 2, 1);
    await guest.write(0, 1, 2);
    await guest.write(0, 2, 0);
    const { pid, blocks, folder } = guest;
    await using tracker = await openTracker({ pagescan: tools.pagescan, pid, blocks, folder });
    expect((await tracker.take(1, 0)).pages).toBe(2);
    const { spool, zero_pages } = await tracker.collect();
    await expect(tracker.take(2, 1)).rejects.toThrow("the transaction before was not released");
    const batches: SpoolBatch[] = [];
    for await (const batch of readSpool(spool, 1)) batches.push(batch);
    expect(batches.map(({ entries }) => [entries.readUInt32LE(0), entries.readUInt32LE(4)])).toEqual([
      [0, 1],
      [0x8000_0000, 2],
    ]);
    expect(batches.map(({ content }) => content.length)).toEqual([PAGE_BYTES, 0]);
    expect(batches[0]?.content.equals(contentOf(2))).toBe(true);
    expect(zero_pages).toBe(1);
    await tracker.release();
    expect((await tracker.take(2, 1)).pages).toBe(0);
  });

  test("a table is of one process and of its blocks", async ({ skip }) => {
    await using guest = await guestOf();
    if (!guest.tracked) skip("the kernel notes nothing here");
    await using other = await guestOf();
    await guest.place(0, 1, 1);
    await guest.place(0, 2, 1);
    await guest.write(0, 1, 2);
    const options = { pagescan: tools.pagescan, pid: guest.pid, blocks: guest.blocks, folder: guest.folder };
    const taken = async (by: TrackerOptions): Promise<number> => {
      await using tracker = await openTracker(by);
      return (await tracker.take(1, 0)).pages;
    };
    expect(await taken(options)).toBe(1);
    expect(await taken(options)).toBe(1);
    // A block less: what was noted cannot be told any more, so everything counts that is there.
    const fewer = { ...options, blocks: guest.blocks.slice(0, 1) };
    expect(await taken(fewer)).toBe(2);
    expect(await taken({ ...options, pid: other.pid, blocks: other.blocks })).toBe(0);
  });

  describe("tracking from outside", () => {
    function optionsOf(guest: GuestMemory): TrackerOptions {
      const { pid, blocks, folder, status_path: shim_status_path } = guest;
      return { pagescan: tools.pagescan, pid, blocks, folder, shim_status_path };
    }

    async function foundBy(tracker: PagescanTracker, n: number): Promise<readonly string[]> {
      await tracker.take(n, n - 1);
      const { spool } = await tracker.collect();
      const found: string[] = [];
      for await (const { entries } of readSpool(spool, 64)) {
        for (let at = 0; at < entries.length; at += 8)
          found.push(`${BLOCK_NAMES[entries.readUInt32LE(at) & 1]}:${entries.readUInt32LE(at + 4)}`);
      }
      await tracker.release();
      return found;
    }

    /** Memory in which nobody has registered anything: as of a QEMU that was only booted, with two pages in it. */
    async function bootedGuest(): Promise<GuestMemory> {
      const guest = await guestOf();
      await guest.end();
      await guest.write(0, 1, 1);
      await guest.write(1, 2, 1);
      return guest;
    }

    test("of a process that registered nothing every page is found that was written since", async ({ skip }) => {
      await using guest = await bootedGuest();
      await using tracker = await openTracker(optionsOf(guest));
      const armed = await tracker.arm();
      if (armed.mode === "sure") skip(`the kernel notes nothing here: ${tracker.why}`);
      expect(armed.pages).toBe(guest.pages[0] + guest.pages[1]);
      expect(tracker.why).toBe("tracked from outside");
      await guest.write(0, 5, 3);
      await guest.write(1, 1, 3);
      expect(await foundBy(tracker, 1)).toEqual(["ram0:5", "pc.bios:1"]);
      await guest.write(0, 1, 4);
      expect(await foundBy(tracker, 2)).toEqual(["ram0:1"]);
      expect(await foundBy(tracker, 3)).toEqual([]);
    });

    test("a look tells what changed since a number, and takes nothing away from the next take", async ({ skip }) => {
      await using guest = await bootedGuest();
      await using tracker = await openTracker(optionsOf(guest));
      if ((await tracker.arm()).mode === "sure") skip("the kernel notes nothing here");
      await guest.write(0, 5, 3);
      expect(await tracker.look(1, 0)).toEqual([{ block: "ram0", first: 5, count: 1 }]);
      await guest.write(0, 6, 3);
      await guest.write(1, 2, 3);
      const later = [
        { block: "ram0", first: 6, count: 1 },
        { block: "pc.bios", first: 2, count: 1 },
      ];
      expect(await tracker.look(2, 1)).toEqual(later);
      expect(await tracker.look(3, 2)).toEqual([]);
      expect(await tracker.look(4, 1)).toEqual(later);
      expect(await foundBy(tracker, 5)).toEqual(["ram0:5", "ram0:6", "pc.bios:2"]);
    });

    test("whoever comes after goes on: what is noted is not thrown away", async ({ skip }) => {
      await using guest = await bootedGuest();
      {
        await using first = await openTracker(optionsOf(guest));
        if ((await first.arm()).mode === "sure") skip("the kernel notes nothing here");
        expect(await foundBy(first, 1)).toEqual([]);
      }
      await guest.write(0, 6, 2);
      await using second = await openTracker(optionsOf(guest));
      expect(await second.arm()).toMatchObject({ mode: "quick", pages: 0 });
      expect(await foundBy(second, 2)).toEqual(["ram0:6"]);
    });

    test("what QEMU itself has tracked is left to it until it has let go", async ({ skip }) => {
      await using guest = await guestOf();
      if (!guest.tracked) skip("the kernel notes nothing here");
      await using tracker = await openTracker(optionsOf(guest));
      await guest.place(0, 1, 1);
      await guest.write(0, 1, 2);
      expect(await tracker.arm()).toMatchObject({ mode: "quick", pages: 0 });
      expect(await foundBy(tracker, 1)).toEqual(["ram0:1"]);
      await guest.end();
      expect((await tracker.arm("still")).pages).toBe(guest.pages[0] + guest.pages[1]);
      await guest.write(0, 1, 3);
      expect(await foundBy(tracker, 2)).toEqual(["ram0:1"]);
    });

    test("after a time without tracking everything that is there counts as changed", async ({ skip }) => {
      await using guest = await bootedGuest();
      await using tracker = await openTracker(optionsOf(guest));
      if ((await tracker.arm()).mode === "sure") skip("the kernel notes nothing here");
      expect(await foundBy(tracker, 1)).toEqual([]);
      await tracker.disarm();
      await guest.write(0, 1, 2);
      await tracker.arm();
      expect(await foundBy(tracker, 2)).toEqual(expect.arrayContaining(["ram0:1", "pc.bios:2"]));
      expect(await foundBy(tracker, 3)).toEqual([]);
    });

    test("without a descriptor the way is the sure one, and that is said", async () => {
      await using guest = await bootedGuest();
      const { shim_status_path: _, ...options } = optionsOf(guest);
      await using tracker = await openTracker(options);
      const changes: string[] = [];
      tracker.onModeChange = (mode, why) => changes.push(`${mode}: ${why}`);
      expect(await tracker.arm()).toMatchObject({ mode: "sure", pages: 0 });
      expect(changes).toEqual(["sure: pagescan: QEMU runs without the preloaded library"]);
      await tracker.learn("ram0", 1, contentOf(1));
      await tracker.learn("pc.bios", 2, contentOf(1));
      await guest.write(0, 1, 2);
      expect(await foundBy(tracker, 1)).toEqual(["ram0:1"]);
    });
  });
});
