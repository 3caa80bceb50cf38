import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { PAGE_BYTES } from "../../base/page.ts";
import { readSpool, type SpoolBatch } from "./spool.ts";
import { contentOf, GuestMemory } from "./testing/memory.ts";
import { buildNative, canBuildNative, type NativeTools } from "./testing/native.ts";
import { Ordeal, type Seen, steps } from "./testing/ordeal.ts";
import { openTracker, type TrackerOptions } from "./tracker.ts";

const RUNS = Number(process.env["FERRYMAN_ORDEALS"] ?? 30);

describe.skipIf(!canBuildNative())("the pages that changed, whatever happens meanwhile", () => {
  let tools: NativeTools;
  beforeAll(() => {
    tools = buildNative();
  });
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
});
