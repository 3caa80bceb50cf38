import { beforeEach, describe, expect, it } from "vitest";
import { LogBrokenError, type LogOptions, TransactionLog } from "./log.ts";
import { FaultyFiles, type Operation } from "./testing/faulty-files.ts";
import { LossyFiles } from "./testing/lossy-files.ts";
import { goOn, type Model, modelOf, NOTHING, type PageFill, plain, readWhole, store } from "./testing/sketch.ts";

describe("a log whose file system fails", () => {
  let disk = new LossyFiles();
  let files = new FaultyFiles(disk);
  let troubles: string[] = [];
  let log: TransactionLog;
  let model: Model = NOTHING;

  const open = (options: Partial<LogOptions> = {}): Promise<TransactionLog> =>
    TransactionLog.open({ files, sync: "disk", onTrouble: (why) => void troubles.push(why), ...options });

  /** The guest writes these pages and the log takes the record; the model goes on only if it does. */
  async function write(...pages: PageFill[]): Promise<void> {
    const next = goOn(model, { cumulative: false, pages, frames: 1 });
    await store(log, next.record);
    model = next.model;
  }

  async function reopened(): Promise<TransactionLog> {
    files.trouble = () => undefined;
    disk.restart();
    return open();
  }

  beforeEach(async () => {
    disk = new LossyFiles();
    files = new FaultyFiles(disk);
    troubles = [];
    model = NOTHING;
    log = await open();
    await write([0, 1, 1]);
    await write([0, 2, 2]);
  });

  it("stores a record though every write takes only a part of it", async () => {
    let turn = 0;
    files.trouble = (operation) => (operation === "write" ? { takes: (turn++ % 700) + 1 } : undefined);
    await write([0, 3, 3], [0, 4, 4]);
    files.trouble = () => undefined;
    expect(plain(await modelOf(log))).toEqual(plain(model));
    expect(plain(await modelOf(await reopened()))).toEqual(plain(model));
  });

  it("does not wait for a file that takes nothing", async () => {
    files.trouble = (operation) => (operation === "write" ? { takes: 0 } : undefined);
    await expect(write([0, 3, 3])).rejects.toThrow(/took none of/);
  });

  it("has nothing of a record for which there was no room, and takes it when there is", async () => {
    const { bytes } = log;
    // The first write, one in the middle, the mark.
    for (const nth of [0, 1, 3]) {
      let left = nth;
      files.trouble = (operation) => (operation === "write" && left-- <= 0 ? { code: "ENOSPC" } : undefined);
      await expect(write([0, 3, 3], [0, 4, 4])).rejects.toThrow(/ENOSPC/);
      expect(disk.bytesOf("txlog-00000000")?.length).toBe(bytes);
      expect([log.state?.last, log.broken]).toEqual([2, null]);
    }
    files.trouble = () => undefined;
    await write([0, 3, 3], [0, 4, 4]);
    expect(plain(await modelOf(await reopened()))).toEqual(plain(model));
  });

  /** No fresh file can be had. */
  const notMended = (): void => {
    files.trouble = (operation, name) =>
      operation === "create" && name.endsWith(".mended") ? { code: "ENOSPC" } : undefined;
  };

  it("takes nothing any more when the disk did not take what was written", async () => {
    files.fail("sync", "EIO");
    await expect(write([0, 3, 3])).rejects.toThrow(LogBrokenError);
    expect(log.state?.last).toBe(2);
    // Though it would say yes now.
    notMended();
    await expect(write([0, 3, 3])).rejects.toThrow(/broken: the disk did not take/);
    await expect(log.compact()).rejects.toThrow(LogBrokenError);
    await expect(log.reset()).rejects.toThrow(LogBrokenError);
    await log.settled();
    expect(log.broken).toMatch(/EIO/);
    expect(troubles.join()).toMatch(/not mended: ENOSPC/);
    // What was answered for can still be read.
    expect(plain(await modelOf(log))).toEqual(plain(model));
  });

  it("takes nothing any more when the rest of a record cannot be cut off", async () => {
    let left = 1;
    files.trouble = (operation) => {
      if (operation === "truncate") return { code: "EIO" };
      return operation === "write" && left-- <= 0 ? { code: "ENOSPC" } : undefined;
    };
    await expect(write([0, 3, 3])).rejects.toThrow(/ENOSPC/);
    expect(troubles.join()).toMatch(/cannot be cut off/);
    notMended();
    await expect(write([0, 3, 3])).rejects.toThrow(LogBrokenError);
    await log.settled();
    expect(plain(await modelOf(log))).toEqual(plain(model));
    // Opened anew it cuts that off.
    log = await reopened();
    expect(plain(await modelOf(log))).toEqual(plain(model));
    await write([0, 3, 3]);
  });

  it.each([
    ["sync", (operation: Operation) => operation === "sync"],
    ["truncate", (operation: Operation, name: string) => operation !== "create" && !name.endsWith(".mended")],
  ] as const)("is mended by the record after the one that broke it, and takes the next (%s)", async (_, isBad) => {
    files.trouble = (operation, name) => (isBad(operation, name) ? { code: "EIO" } : undefined);
    await expect(write([0, 3, 3])).rejects.toThrow();
    expect(log.broken).toMatch(/EIO/);
    files.trouble = () => undefined;
    const { lineage } = log;
    // It is told to come again, as before.
    await expect(write([0, 3, 3])).rejects.toThrow(LogBrokenError);
    await log.settled();
    expect([log.broken, log.lineage, log.state?.last]).toEqual([null, lineage, 2]);
    expect(plain(await modelOf(log))).toEqual(plain(model));
    await write([0, 3, 3], [0, 1, 7]);
    await log.compact();
    await write([0, 4, 4]);
    expect(plain(await modelOf(log))).toEqual(plain(model));
    expect(await files.list()).toHaveLength(1);
    expect(files.open_files).toBe(1);
    expect(plain(await modelOf(await reopened()))).toEqual(plain(model));
  });

  it("is mended though nothing was ever committed in it", async () => {
    await log.close();
    disk = new LossyFiles();
    files = new FaultyFiles(disk);
    log = await open();
    model = NOTHING;
    files.fail("sync", "EIO");
    await expect(write([0, 3, 3])).rejects.toThrow(LogBrokenError);
    await log.mend();
    await write([0, 3, 3]);
    expect(plain(await modelOf(await reopened()))).toEqual(plain(model));
  });

  it("is mended by whoever has it begin anew, for no record comes before", async () => {
    files.fail("sync", "EIO");
    await expect(write([0, 3, 3])).rejects.toThrow(LogBrokenError);
    await log.reset();
    expect([log.broken, log.state]).toEqual([null, null]);
    model = NOTHING;
    await write([0, 3, 3]);
    expect(plain(await modelOf(await reopened()))).toEqual(plain(model));
  });

  it("is not mended with what it does not prove", async () => {
    files.fail("sync", "EIO");
    await expect(write([0, 3, 3])).rejects.toThrow(LogBrokenError);
    const file = disk.bytesOf("txlog-00000000") as Buffer;
    file[file.lastIndexOf(Buffer.alloc(4096, 2)) + 17] = 3;
    await expect(log.mend()).rejects.toThrow(/the modified set is/);
    expect(log.broken).toMatch(/EIO/);
    expect(await files.list()).toEqual(["txlog-00000000"]);
    expect(files.open_files).toBe(1);
  });

  it("keeps every answered record when power goes while it is mended", async () => {
    for (let at = 0; at < 14; at += 1) {
      for (const lost of [0, 1]) {
        files.fail("sync", "EIO");
        await expect(write([0, 3, 3])).rejects.toThrow(LogBrokenError);
        disk.loseAt(disk.operations + at);
        await log.mend().catch(() => undefined);
        disk.recover((n) => lost * n);
        files.trouble = () => undefined;
        log = await open();
        const found = await modelOf(log);
        // The one that was not answered may be there as well: it was written.
        expect([model.n, model.n + 1]).toContain(found.n);
        if (found.n === model.n) expect(plain(found)).toEqual(plain(model));
        model = found;
        await write([0, 6, at]);
      }
    }
  });

  it.each(["create", "write", "sync", "rename", "read"] as const)(
    "goes on with the long log when compaction fails at %s, and says so",
    async (operation) => {
      const before = log.entries.length;
      files.trouble = (now, name) =>
        now === operation && (operation === "read" || name.endsWith(".new")) ? { code: "ENOSPC" } : undefined;
      await expect(log.compact()).rejects.toThrow(/ENOSPC/);
      files.trouble = () => undefined;
      expect(log.entries.length).toBe(before);
      expect(await files.list()).toEqual(["txlog-00000000"]);
      expect(files.open_files).toBe(1);
      await write([0, 3, 3]);
      await log.compact();
      expect(log.entries.length).toBe(1);
      expect(plain(await modelOf(log))).toEqual(plain(model));
    },
  );

  it("answers for a record whose compaction fails, and tries again less and less often", async () => {
    await log.close();
    log = await open({ growth: 0, slack_bytes: 0 });
    let tries = 0;
    files.trouble = (operation, name) => {
      if (operation !== "create" || !name.endsWith(".new")) return undefined;
      tries += 1;
      return { code: "ENOSPC" };
    };
    const commits: number[] = [];
    for (let i = 0; i < 60; i += 1) {
      const before = tries;
      await write([0, i % 16, i]);
      await log.settled();
      if (tries > before) commits.push(i);
    }
    expect(commits).toEqual([0, 9, 26, 59]);
    expect(troubles[0]).toMatch(/not compacted, again after 8 records: ENOSPC/);
    files.trouble = () => undefined;
    for (let i = 0; i < 65; i += 1) {
      await write([0, i % 16, i + 1]);
      await log.settled();
    }
    expect(log.entries.length).toBeLessThan(5);
    expect(plain(await modelOf(log))).toEqual(plain(model));
  });

  it("removes at the next opening what compaction could not", async () => {
    files.fail("remove", "EIO");
    await log.compact();
    expect(troubles.join()).toMatch(/txlog-00000000 is left over/);
    expect(await files.list()).toHaveLength(2);
    await write([0, 5, 5]);
    log = await reopened();
    expect(await files.list()).toEqual(["txlog-00000001"]);
    expect(plain(await modelOf(log))).toEqual(plain(model));
  });

  it("is not believed to be on disk under a name that may not be there", async () => {
    files.fail("syncFolder", "EIO");
    await log.compact();
    expect(troubles.join()).toMatch(/folder was not synced/);
    notMended();
    await expect(write([0, 5, 5])).rejects.toThrow(LogBrokenError);
    await log.settled();
    // Both files are there: whichever the folder has, it holds what was answered for.
    expect(await files.list()).toHaveLength(2);
    disk.recover(() => 0);
    expect(plain(await modelOf(await reopened()))).toEqual(plain(model));
  });

  it("keeps the old file for who still reads it", async () => {
    const reading = log.read("base");
    await reading.next();
    await log.compact();
    expect(files.open_files).toBe(2);
    for await (const piece of reading) expect(piece.length).toBeGreaterThan(0);
    expect(files.open_files).toBe(1);
    // Also who gives up in the middle.
    for await (const _ of log.read("base")) break;
    await log.close();
    expect(files.open_files).toBe(0);
  });

  it("is not compacted into something else than it holds", async () => {
    const file = disk.bytesOf("txlog-00000000") as Buffer;
    const at = file.lastIndexOf(Buffer.alloc(4096, 2));
    file[at + 17] = 3;
    await expect(log.compact()).rejects.toThrow(/the modified set is/);
    expect(await files.list()).toEqual(["txlog-00000000"]);
    expect((await readWhole(log)).length).toBeGreaterThan(0);
  });
});
