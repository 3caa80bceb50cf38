import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { PAGE_BYTES } from "../../base/page.ts";
import { transactionNumber } from "../core/index.ts";
import { type Files, folder } from "./files.ts";
import { NotInLogError, TransactionLog } from "./log.ts";
import { LogVersionError, MARK_BYTES } from "./log-format.ts";
import { LossyFiles, PowerLoss } from "./testing/lossy-files.ts";
import {
  goOn,
  logFileOf,
  type Model,
  modelOf,
  modelOfRecord,
  NOTHING,
  type PageFill,
  plain,
  readWhole,
  recordOf,
  type Sketch,
  sketches,
  store,
} from "./testing/sketch.ts";
import { decodeRecord } from "./whole-record.ts";

const FILE = "txlog-00000000";
const write = (...pages: PageFill[]): Sketch => ({ cumulative: false, pages, frames: 1 });

/** Models after each step, the empty one first, and the records that say so. */
function story(...steps: Sketch[]): { readonly models: Model[]; readonly records: Buffer[] } {
  const models: Model[] = [NOTHING];
  const records: Buffer[] = [];
  for (const sketch of steps) {
    const { model, record } = goOn(models[models.length - 1] as Model, sketch);
    models.push(model);
    records.push(record);
  }
  return { models, records };
}

describe("the transaction log", () => {
  it("does not have a record whose commit mark is damaged, whichever byte it is", async () => {
    const { models, records } = story(write([0, 1, 1]), write([0, 2, 2]));
    const files = new LossyFiles();
    const log = await TransactionLog.open({ files, sync: "memory" });
    for (const record of records) await store(log, record);
    await log.close();
    const whole = Buffer.from(files.bytesOf(FILE) ?? []);
    for (let at = whole.length - MARK_BYTES; at < whole.length; at += 1) {
      const damaged = Buffer.from(whole);
      damaged[at] = (damaged[at] ?? 0) ^ 1;
      files.put(FILE, damaged);
      const again = await TransactionLog.open({ files, sync: "memory" });
      expect(plain(await modelOf(again)), `byte ${at}`).toEqual(plain(models[1] as Model));
      expect(again.torn).not.toBeNull();
      await again.close();
    }
  });

  it("gives the last committed transaction when its file is cut at any byte", async () => {
    const { models, records } = story(write([0, 1, 1]), write([0, 1, 0], [1, 2, 2]), write([0, 3, 3]));
    const files = new LossyFiles();
    const log = await TransactionLog.open({ files, sync: "memory" });
    const ends = [log.bytes];
    for (const record of records) {
      await store(log, record);
      ends.push(log.bytes);
    }
    const { lineage } = log;
    await log.close();
    const whole = Buffer.from(files.bytesOf(FILE) ?? []);
    expect(whole.length).toBe(log.bytes);
    // Every byte around headers, tables and marks; within a page's content every 97th.
    for (let cut = 0; cut <= whole.length; cut += 1) {
      const near = ends.some((end) => Math.abs(end - cut) < 200);
      if (!near && cut % 97 !== 0) continue;
      files.put(FILE, whole.subarray(0, cut));
      const again = await TransactionLog.open({ files, sync: "memory" });
      const n = Math.max(0, ends.filter((end) => end <= cut).length - 1);
      expect(plain(await modelOf(again)), `cut at ${cut}`).toEqual(plain(models[n] as Model));
      expect(again.torn === null).toBe(ends.includes(cut));
      expect(again.lineage === lineage).toBe(cut >= (ends[0] ?? 0));
      await store(again, records[n] ?? goOn(models[3] as Model, write()).record);
      expect(again.state?.last).toBe(n + 1);
      await again.close();
    }
  });

  it("does not have a record that was whole and not committed, after a restart either", async () => {
    const { models, records } = story(write([0, 1, 1]), write([0, 2, 2]));
    const files = new LossyFiles();
    const log = await TransactionLog.open({ files, sync: "memory" });
    await store(log, records[0] as Buffer);
    const incoming = log.begin();
    await incoming.push(records[1] as Buffer);
    expect(await incoming.finish()).toMatchObject({ head: { n: 2, since: 1 }, bytes: records[1]?.length });
    expect(log.state?.last).toBe(1);
    files.restart();
    const again = await TransactionLog.open({ files, sync: "memory" });
    expect(again.torn?.why).toMatch(/was not committed/);
    expect(plain(await modelOf(again))).toEqual(plain(models[1] as Model));
  });

  it("leaves nothing of a record that was discarded, broken off or overtaken", async () => {
    const { models, records } = story(write([0, 1, 1]), write([0, 2, 2]));
    const files = new LossyFiles();
    const log = await TransactionLog.open({ files, sync: "memory" });
    await store(log, records[0] as Buffer);
    const [bytes, second] = [log.bytes, records[1] as Buffer];

    const discarded = log.begin();
    await discarded.push(second.subarray(0, 3000));
    await discarded.discard();
    expect(files.bytesOf(FILE)?.length).toBe(bytes);
    await expect(discarded.push(second.subarray(3000))).rejects.toThrow(/discarded/);

    const garbled = log.begin();
    await garbled.push(second.subarray(0, 100));
    await expect(garbled.push(Buffer.alloc(100, 0xff))).rejects.toThrow(/transaction record/);
    expect(files.bytesOf(FILE)?.length).toBe(bytes);
    await expect(garbled.commit()).rejects.toThrow(/transaction record/);

    const short = log.begin();
    await short.push(second.subarray(0, 3000));
    await expect(short.finish()).rejects.toThrow(/cut off/);

    const overtaken = log.begin();
    await overtaken.push(second.subarray(0, 3000));
    await store(log, second);
    await expect(overtaken.push(second.subarray(3000))).rejects.toThrow(/another one has come/);
    await expect(overtaken.commit()).rejects.toThrow(/another one has come/);
    expect(plain(await modelOf(log))).toEqual(plain(models[2] as Model));
  });

  it("takes the next record while the one before is being committed", async () => {
    const { models, records } = story(write([0, 1, 1]), write([0, 2, 2]));
    const log = await TransactionLog.open({ files: new LossyFiles(), sync: "disk" });
    const one = log.begin();
    await one.push(records[0] as Buffer);
    const committing = one.commit();
    const two = log.begin();
    const pushing = two.push(records[1] as Buffer);
    expect((await committing).last).toBe(1);
    await pushing;
    expect((await two.commit()).last).toBe(2);
    expect(plain(await modelOf(log))).toEqual(plain(models[2] as Model));
  });

  it("takes a repeat of the last record for stored, after compaction and a restart too", async () => {
    const { models, records } = story(write([0, 1, 1]), write([0, 2, 2]));
    const files = new LossyFiles();
    let log = await TransactionLog.open({ files, sync: "disk" });
    for (const record of records) await store(log, record);
    const repeat = records[1] as Buffer;
    const { bytes } = log;
    expect(await store(log, repeat)).toMatchObject({ last: 2 });
    expect([log.bytes, log.entries.length, files.bytesOf(FILE)?.length]).toEqual([bytes, 2, bytes]);
    await log.compact();
    expect(log.entries.length).toBe(1);
    expect(await store(log, repeat)).toMatchObject({ last: 2 });
    await log.close();
    log = await TransactionLog.open({ files, sync: "disk" });
    expect(await store(log, repeat)).toMatchObject({ last: 2 });
    expect(plain(await modelOf(log))).toEqual(plain(models[2] as Model));
    // Another record under that number is not a repeat.
    await expect(
      store(log, recordOf({ n: 2, since: "base", mark: 9, pages: models[2]?.pages ?? new Map() })),
    ).rejects.toThrow(/the log has record 2/);
  });

  it("gives what has changed since a transaction, whatever is committed and compacted meanwhile", async () => {
    const { models, records } = story(
      write([0, 1, 1], [0, 2, 2], [1, 0, 3]),
      write([0, 1, 0]),
      write([1, 3, 4]),
      write([0, 1, 9], [0, 7, 7]),
    );
    const files = new LossyFiles();
    const log = await TransactionLog.open({ files, sync: "memory" });
    for (const record of records.slice(0, 3)) await store(log, record);
    const reading = log.read(transactionNumber(1));
    const pieces = [(await reading.next()).value as Uint8Array];
    await store(log, records[3] as Buffer);
    await log.compact();
    for await (const piece of reading) pieces.push(piece);
    const read = Buffer.concat(pieces);
    const three = models[3] as Model;
    expect(decodeRecord(read)).toMatchObject({ head: { n: 3, since: 1 }, modified_pages: three.pages.size });
    expect(decodeRecord(read).pages.map(({ block, page }) => [block, page])).toEqual([
      [0, 1],
      [1, 3],
    ]);
    expect(plain(modelOfRecord(read, models[1]?.pages))).toEqual(plain(three));
    // Nothing is since the last one; more than that nobody can ask for.
    expect(decodeRecord(await readWhole(log, 4)).pages).toEqual([]);
    await expect(readWhole(log, 5)).rejects.toThrow(NotInLogError);
    for (const since of [1, 2, 3] as const) {
      expect(plain(modelOfRecord(await readWhole(log, since), models[since]?.pages))).toEqual(
        plain(models[4] as Model),
      );
    }
  });

  it("holds the pages of a large guest, in every block and place", async () => {
    const blocks = [
      { name: "ram0", bytes: 30_000 * PAGE_BYTES },
      { name: "pc.bios", bytes: 5000 * PAGE_BYTES },
    ];
    const zeros = [
      ...Array.from({ length: 24_000 }, (_, i) => `0:${i + 100}`),
      ...Array.from({ length: 4999 }, (_, i) => `1:${i}`),
    ];
    // Around the borders of what is allocated at a time.
    const full = [
      "0:100",
      "0:355",
      "0:356",
      "0:4095",
      "0:4096",
      "0:8191",
      "0:8192",
      "0:16484",
      "0:24099",
      "1:0",
      "1:4998",
    ];
    const first = new Map([
      ...zeros.map((place) => [place, 0] as const),
      ...full.map((place, i) => [place, i + 1] as const),
    ]);
    const change = new Map([
      ["0:356", 0],
      ["0:8192", 99],
      ["0:29999", 5],
      ["1:4096", 7],
      ["1:4998", 0],
    ]);
    const second = new Map([...first, ...change]);
    const files = new LossyFiles();
    let log = await TransactionLog.open({ files, sync: "memory" });
    await store(log, recordOf({ n: 1, since: "base", pages: first, blocks }), 100_000);
    expect(plain(await modelOf(log))).toMatchObject({ pages: [...first].sort(([a], [b]) => (a < b ? -1 : 1)) });
    await store(log, recordOf({ n: 2, since: 1, pages: change, all: second, blocks }));
    expect((await modelOf(log)).pages).toEqual(second);
    expect(modelOfRecord(await readWhole(log, 1)).pages).toEqual(change);
    await log.compact();
    expect((await modelOf(log)).pages).toEqual(second);
    await log.close();
    log = await TransactionLog.open({ files, sync: "memory" });
    expect((await modelOf(log)).pages).toEqual(second);
    expect(log.entries).toMatchObject([{ n: 2, modified_pages: second.size }]);
  });

  it("is another one where it begins anew, and the same one compacted", async () => {
    const { records } = story(write([0, 1, 1]), write([0, 2, 2]));
    const files = new LossyFiles();
    let log = await TransactionLog.open({ files, sync: "disk" });
    const { lineage } = log;
    for (const record of records) await store(log, record);
    await log.compact();
    expect(log.lineage).toBe(lineage);
    const incoming = log.begin();
    await log.reset();
    await expect(incoming.push(records[0] as Buffer)).rejects.toThrow(/another one/);
    expect([log.state, log.entries]).toEqual([null, []]);
    await expect(readWhole(log)).rejects.toThrow(NotInLogError);
    expect(log.lineage).not.toBe(lineage);
    // What it had does not bind what comes.
    await store(log, recordOf({ n: 1, since: "base", pages: new Map() }));
    const anew = log.lineage;
    await log.close();
    log = await TransactionLog.open({ files, sync: "disk" });
    expect([log.lineage, log.state?.last]).toEqual([anew, 1]);
    expect(await files.list()).toHaveLength(1);
  });

  it("keeps frames until they have arrived, each once", async () => {
    const log = await TransactionLog.open({ files: new LossyFiles(), sync: "memory" });
    const record = (n: number, mark: number, acked: number, ...frames: number[]): Buffer =>
      recordOf({
        n,
        since: n === 1 ? "base" : n - 1,
        mark,
        acked,
        frames: frames.map((f) => `frame ${f}`),
        pages: new Map(),
      });
    await store(log, record(1, 3, 0, 1, 2, 3));
    await store(log, record(2, 5, 1, 2, 3, 4, 5));
    await store(log, record(3, 6, 2, 6));
    expect((await modelOf(log)).frames).toEqual(["frame 3", "frame 4", "frame 5", "frame 6"]);
    await log.compact();
    await store(log, record(4, 7, 4, 7));
    expect((await modelOf(log)).frames).toEqual(["frame 5", "frame 6", "frame 7"]);
  });

  it("does not grow with the length of the migration", async () => {
    const files = new LossyFiles();
    const log = await TransactionLog.open({ files, sync: "memory", growth: 2, slack_bytes: 64 * 1024 });
    let model: Model = NOTHING;
    for (let n = 1; n <= 200; n += 1) {
      const next = goOn(model, write(...[0, 1, 2].map((i) => [0, (n + i) % 16, n % 256] as const)));
      model = next.model;
      await store(log, next.record);
      await log.settled();
      expect(log.bytes).toBeLessThan(2 * 17 * PAGE_BYTES + 64 * 1024 + 4 * PAGE_BYTES);
    }
    expect(log.state).toMatchObject({ last: 200, mark: 200 });
    expect(plain(await modelOf(log))).toEqual(plain(model));
    expect(await files.list()).toHaveLength(1);
  });

  it("compacts while records go on to come", async () => {
    const files = new LossyFiles();
    const log = await TransactionLog.open({ files, sync: "disk" });
    const { models, records } = story(
      ...Array.from({ length: 12 }, (_, i) => write([0, i % 5, i], [1, i % 3, i + 100])),
    );
    for (const record of records.slice(0, 4)) await store(log, record);
    const compacting = log.compact();
    for (const record of records.slice(4, 8)) await store(log, record, 500);
    const half = log.begin();
    await half.push((records[8] as Buffer).subarray(0, 5000));
    await compacting;
    expect(log.entries.length).toBeLessThan(8);
    await half.push((records[8] as Buffer).subarray(5000));
    await half.commit();
    for (const record of records.slice(9)) await store(log, record);
    expect(plain(await modelOf(log))).toEqual(plain(models[12] as Model));
    expect(plain(modelOfRecord(await readWhole(log, 6), models[6]?.pages))).toEqual(plain(models[12] as Model));
    await log.close();
    const again = await TransactionLog.open({ files, sync: "disk" });
    expect(again.torn).toBeNull();
    expect(again.entries.map(({ n, digest }) => [n, digest])).toEqual(log.entries.map(({ n, digest }) => [n, digest]));
    expect(plain(await modelOf(again))).toEqual(plain(models[12] as Model));
  });

  it("has what was written last of every page that is written again while it is compacted", async () => {
    const some = (minLength: number, maxLength: number): fc.Arbitrary<Sketch[]> =>
      fc.array(sketches, { minLength, maxLength });
    await fc.assert(
      fc.asyncProperty(some(2, 4), some(1, 3), async (before, during) => {
        const lossy = new LossyFiles();
        const written = Promise.withResolvers<void>();
        const goOn = Promise.withResolvers<void>();
        // The compacted file is written, and not yet the log, until the test lets it be.
        const files: Files = {
          list: () => lossy.list(),
          rename: (from, to) => lossy.rename(from, to),
          remove: (name) => lossy.remove(name),
          syncFolder: () => lossy.syncFolder(),
          free: () => lossy.free(),
          open: async (name, how) => {
            const file = await lossy.open(name, how);
            const sync = async (): Promise<void> => {
              written.resolve();
              await goOn.promise;
              await file.sync();
            };
            return name.endsWith(".new") ? { ...file, sync } : file;
          },
        };
        const log = await TransactionLog.open({ files, sync: "memory" });
        const { models, records } = story(...before, ...during);
        for (const record of records.slice(0, before.length)) await store(log, record);
        const compacting = log.compact();
        await written.promise;
        for (const record of records.slice(before.length)) await store(log, record);
        goOn.resolve();
        await compacting;
        const wanted = plain(models.at(-1) as Model);
        expect(log.entries).toHaveLength(1 + during.length);
        expect(plain(await modelOf(log))).toEqual(wanted);
        await log.close();
        expect(plain(await modelOf(await TransactionLog.open({ files: lossy, sync: "memory" })))).toEqual(wanted);
      }),
      { numRuns: 60 },
    );
  });

  it("keeps every answered record, whole, when power goes at any operation", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.oneof({ weight: 3, arbitrary: sketches }, { weight: 1, arbitrary: fc.constant("compact" as const) }),
          { minLength: 1, maxLength: 8 },
        ),
        fc.nat(80),
        fc.infiniteStream(fc.nat(1_000_000)),
        fc.constantFrom("memory" as const, "disk" as const),
        fc.boolean(),
        async (steps, failAt, chance, sync, powerLoss) => {
          const files = new LossyFiles();
          const models: Model[] = [NOTHING];
          let answered = 0;
          files.loseAt(failAt);
          try {
            const log = await TransactionLog.open({ files, sync });
            for (const step of steps) {
              if (step === "compact") {
                const many = log.entries.length > 1;
                await log.compact();
                // Where the power went with the folder, a log that is not for the disk says so and goes on.
                if (many && !files.dark) answered = models.length - 1;
                continue;
              }
              const { model, record } = goOn(models[models.length - 1] as Model, step);
              models.push(model);
              await store(log, record, 6000);
              if (sync === "disk") answered = model.n;
            }
          } catch (error) {
            if (!(error instanceof PowerLoss) && !/broken/.test(String(error))) throw error;
          }
          if (powerLoss) files.recover((n) => (chance.next().value ?? 0) % (n + 1));
          else files.restart();
          const log = await TransactionLog.open({ files, sync });
          const found = await modelOf(log);
          expect(plain(found)).toEqual(plain(models[found.n] as Model));
          expect(found.n).toBeGreaterThanOrEqual(powerLoss ? answered : Math.max(0, models.length - 2));
          // And it goes on.
          await store(log, goOn(found, write([0, 3, 3])).record);
          expect(log.state?.last).toBe(found.n + 1);
        },
      ),
      { numRuns: 300 },
    );
  });
});

describe("a log in a real folder", () => {
  let path = "";
  beforeEach(async () => {
    path = await mkdtemp(join(tmpdir(), "txlog-"));
  });
  afterEach(() => rm(path, { recursive: true, force: true }));

  it.each([true, false])("is found again, reads at once: %s", async (in_memory) => {
    const { models, records } = story(
      write(...Array.from({ length: 16 }, (_, i) => [0, i, i] as const)),
      write([0, 3, 77], [0, 9, 0], [1, 1, 1]),
    );
    const files = folder(path, { in_memory });
    const log = await TransactionLog.open({ files, sync: "disk" });
    for (const record of records) await store(log, record);
    await writeFile(join(path, "txlog-00000001.new"), "left over");
    await log.close();
    const again = await TransactionLog.open({ files, sync: "disk" });
    expect(plain(await modelOf(again))).toEqual(plain(models[2] as Model));
    await again.compact();
    expect(plain(await modelOf(again))).toEqual(plain(models[2] as Model));
    await again.close();
    expect(await files.list()).toEqual(["txlog-00000001"]);
  });

  it("of version 1 is refused, and left as it is", async () => {
    const one = logFileOf(story(write([0, 1, 1])).records).subarray(32);
    one.writeUInt16BE(1, 4);
    await writeFile(join(path, FILE), one);
    await expect(TransactionLog.open({ files: folder(path), sync: "disk" })).rejects.toThrow(LogVersionError);
    const file = await folder(path).open(FILE, "read");
    expect(await file.size()).toBe(one.length);
    await file.close();
  });
});
