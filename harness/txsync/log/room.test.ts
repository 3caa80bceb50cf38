import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Files } from "./files.ts";
import { TransactionLog } from "./log.ts";
import { FaultyFiles } from "./testing/faulty-files.ts";
import { LossyFiles } from "./testing/lossy-files.ts";
import {
  BLOCKS,
  goOn,
  type Model,
  modelOf,
  NOTHING,
  type PageFill,
  plain,
  type Sketch,
  sketches,
  store,
} from "./testing/sketch.ts";

const PAGES: readonly (readonly [block: number, page: number])[] = BLOCKS.flatMap(({ bytes }, block) =>
  Array.from({ length: bytes / 4096 }, (_, page) => [block, page] as const),
);
/** A guest that writes all of its memory. */
const everything = (fill: number): Sketch => {
  return { cumulative: false, frames: 0, pages: PAGES.map(([block, page]): PageFill => [block, page, fill]) };
};
const ALL_BYTES = goOn(NOTHING, everything(1)).record.length;
/** Heads and marks, and what compaction allows itself for them. */
const SPARE_BYTES = 100 * 1024;

/** A log in so much room, and the guest that it is of. */
class Cramped {
  readonly files = new LossyFiles();
  readonly troubles: string[] = [];
  model: Model = NOTHING;
  waited = 0;
  promised_bytes = 0;
  #log: TransactionLog | undefined;

  static async in(capacity_bytes: number): Promise<Cramped> {
    const made = new Cramped();
    made.files.capacity_bytes = capacity_bytes;
    await made.open();
    return made;
  }

  get log(): TransactionLog {
    if (this.#log === undefined) throw new Error("it is not open");
    return this.#log;
  }

  async open(): Promise<void> {
    this.#log = await TransactionLog.open({
      files: this.files,
      sync: "memory",
      slack_bytes: 0,
      promised_bytes: () => this.promised_bytes,
      onWaiting: () => {
        this.waited += 1;
      },
      onTrouble: (why) => void this.troubles.push(why),
    });
  }

  async write(sketch: Sketch): Promise<void> {
    const { model, record } = goOn(this.model, sketch);
    await store(this.log, record);
    this.model = model;
  }

  async isRight(): Promise<void> {
    expect(plain(await modelOf(this.log))).toEqual(plain(this.model));
    await this.log.close();
    await this.open();
    expect(plain(await modelOf(this.log))).toEqual(plain(this.model));
  }
}

describe("a log in a room that is not much larger than the guest's memory", () => {
  it("takes every record of a guest that always writes all of it", async () => {
    const cramped = await Cramped.in(4 * ALL_BYTES + SPARE_BYTES);
    for (let fill = 1; fill <= 12; fill += 1) await cramped.write(everything(fill));
    expect(cramped.troubles).toEqual([]);
    await cramped.isRight();
  });

  it("takes every record of any guest", async () => {
    const sketch = fc.oneof(sketches, fc.nat(255).map(everything));
    await fc.assert(
      fc.asyncProperty(fc.array(sketch, { minLength: 1, maxLength: 12 }), async (all) => {
        const cramped = await Cramped.in(4 * ALL_BYTES + SPARE_BYTES);
        for (const one of all) await cramped.write(one);
        expect(cramped.troubles).toEqual([]);
        await cramped.isRight();
      }),
      { numRuns: 60 },
    );
  });

  it("leaves what others are yet to write there", async () => {
    const cramped = await Cramped.in(5 * ALL_BYTES + SPARE_BYTES);
    cramped.promised_bytes = ALL_BYTES;
    for (let fill = 1; fill <= 6; fill += 1) await cramped.write(everything(fill));
    await cramped.log.settled();
    expect(cramped.files.least_free_bytes).toBeGreaterThan(ALL_BYTES);
  });

  it("says of a record that waits for room that it does", async () => {
    const cramped = await Cramped.in(3.5 * ALL_BYTES + SPARE_BYTES);
    for (let fill = 1; fill <= 4; fill += 1) await cramped.write(everything(fill));
    expect(cramped.waited).toBeGreaterThan(0);
  });

  it("is compacted as soon as there is room again, where others had taken all of it", async () => {
    const cramped = await Cramped.in(8 * ALL_BYTES + SPARE_BYTES);
    await cramped.write(everything(1));
    // Not so much that it is compacted for its length.
    await cramped.write({ ...everything(2), pages: everything(2).pages.slice(4) });
    expect(cramped.log.entries).toHaveLength(2);
    cramped.files.capacity_bytes = cramped.files.used_bytes + ALL_BYTES / 2;
    for (let i = 0; i < 3; i += 1) await expect(cramped.write(everything(3))).rejects.toThrow(/ENOSPC/);
    // Of what it cannot do it makes no try, and says so once.
    expect(cramped.troubles).toEqual([expect.stringMatching(/no room to compact/)]);
    cramped.files.capacity_bytes = 4 * ALL_BYTES + SPARE_BYTES;
    for (let fill = 4; fill <= 8; fill += 1) await cramped.write(everything(fill));
    await cramped.isRight();
  });

  it("tries once for each record where a compaction fails, and takes what there is room for all the same", async () => {
    const disk = new LossyFiles();
    disk.capacity_bytes = 3.5 * ALL_BYTES + SPARE_BYTES;
    const files = new FaultyFiles(disk);
    let tries = 0;
    files.trouble = (operation, name) => {
      if (operation !== "sync" || !name.endsWith(".new")) return undefined;
      tries += 1;
      return { code: "EIO" };
    };
    const troubles: string[] = [];
    const log = await TransactionLog.open({
      files,
      sync: "memory",
      slack_bytes: 0,
      onTrouble: (why) => void troubles.push(why),
    });
    let model: Model = NOTHING;
    for (let fill = 1; fill <= 3; fill += 1) {
      const next = goOn(model, everything(fill));
      await store(log, next.record);
      model = next.model;
    }
    await log.settled();
    expect(tries).toBeGreaterThan(0);
    expect(tries).toBeLessThanOrEqual(3);
    expect(troubles).toHaveLength(tries);
    expect(plain(await modelOf(log))).toEqual(plain(model));
  });

  it("tells of a record that waits behind a compaction's last turn", async () => {
    const disk = new LossyFiles();
    const switching = Promise.withResolvers<void>();
    const told = Promise.withResolvers<void>();
    const files: Files = {
      list: () => disk.list(),
      open: (name, how) => disk.open(name, how),
      remove: (name) => disk.remove(name),
      syncFolder: () => disk.syncFolder(),
      free: () => disk.free(),
      rename: async (from, to) => {
        switching.resolve();
        // Until somebody was told.
        await told.promise;
        await disk.rename(from, to);
      },
    };
    const log = await TransactionLog.open({ files, sync: "memory", onWaiting: () => told.resolve() });
    const first = goOn(NOTHING, everything(1));
    const second = goOn(first.model, everything(2));
    const third = goOn(second.model, everything(3));
    await store(log, first.record);
    await store(log, second.record);
    const compacting = log.compact();
    await switching.promise;
    await store(log, third.record);
    await compacting;
    expect(plain(await modelOf(log))).toEqual(plain(third.model));
  });

  it("takes what there is room for, where a compaction would gain nothing", async () => {
    const cramped = await Cramped.in(2.3 * ALL_BYTES + SPARE_BYTES);
    await cramped.write(everything(1));
    for (let page = 0; page < 1; page += 1)
      await cramped.write({ cumulative: false, frames: 1, pages: [[0, page, 7]] });
    expect(cramped.waited).toBe(0);
    await cramped.isRight();
  });
});
