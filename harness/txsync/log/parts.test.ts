import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { transactionNumber } from "../core/index.ts";
import { folder } from "./files.ts";
import { TransactionLog } from "./log.ts";
import type { PartPiece } from "./record.ts";
import { readWhole, recordWithParts as record, store } from "./testing/sketch.ts";
import { decodeRecord } from "./whole-record.ts";

function piece(n: number, text: string, floor = 0, name = "disk0"): PartPiece {
  return { name, n: transactionNumber(n), floor, bytes: Buffer.from(text) };
}

function partsOf(bytes: Buffer): string[] {
  return decodeRecord(bytes).parts.map(({ name, n, bytes: content }) => `${name}@${n} ${Buffer.from(content)}`);
}

describe("parts of the VM's state in records and in the log", () => {
  let path = "";
  let log: TransactionLog;

  beforeEach(async () => {
    path = mkdtempSync(join(tmpdir(), "ferryman-parts-"));
    log = await TransactionLog.open({ files: folder(path), sync: "memory" });
  });

  afterEach(async () => {
    await log.close();
    rmSync(path, { recursive: true, force: true });
  });

  it("come back in order, each what a record had since the one that the reader has", async () => {
    await store(log, record(1, "base", [piece(1, "a"), piece(1, "A", 0, "disk1")]));
    await store(log, record(2, 1, [piece(2, "b"), piece(2, "c")]));
    await store(log, record(3, 2, [piece(3, "d")]));
    expect(partsOf(await readWhole(log))).toEqual(["disk0@1 a", "disk1@1 A", "disk0@2 b", "disk0@2 c", "disk0@3 d"]);
    expect(partsOf(await readWhole(log, 1))).toEqual(["disk0@2 b", "disk0@2 c", "disk0@3 d"]);
    expect(log.entries.map(({ parts }) => parts)).toEqual([{ disk0: 1, disk1: 1 }, { disk0: 2 }, { disk0: 1 }]);
  });

  it("are let go of up to their floor, each part by itself, and replaced by a record since the base", async () => {
    await store(log, record(1, "base", [piece(1, "a"), piece(1, "A", 0, "disk1")]));
    await store(log, record(2, 1, [piece(2, "b")]));
    await store(log, record(3, 2, [piece(3, "c", 1)]));
    expect(partsOf(await readWhole(log))).toEqual(["disk1@1 A", "disk0@2 b", "disk0@3 c"]);
    await store(log, record(4, "base", [piece(2, "b"), piece(3, "c"), piece(4, "d")]));
    expect(partsOf(await readWhole(log))).toEqual(["disk0@2 b", "disk0@3 c", "disk0@4 d"]);
  });

  it("are the same after compaction, after more records, and after the log was opened again", async () => {
    await store(log, record(1, "base", [piece(1, "a"), piece(1, "A", 0, "disk1")]));
    await store(log, record(2, 1, [piece(2, "b", 1)]));
    await store(log, record(3, 2, [piece(3, "c")]));
    const before = partsOf(await readWhole(log));
    await log.compact();
    expect(log.entries).toHaveLength(1);
    expect(partsOf(await readWhole(log))).toEqual(before);
    await store(log, record(4, 3, [piece(4, "d", 2)]));
    const after = ["disk1@1 A", "disk0@3 c", "disk0@4 d"];
    expect(partsOf(await readWhole(log))).toEqual(after);
    await log.close();
    log = await TransactionLog.open({ files: folder(path), sync: "memory" });
    expect(partsOf(await readWhole(log))).toEqual(after);
  });

  it("of another transaction than the record's, or out of order, are refused", () => {
    const refused: readonly [number | "base", readonly PartPiece[]][] = [
      [4, [piece(6, "of a later one")]],
      [4, [piece(4, "that the log has")]],
      ["base", [piece(5, "b"), piece(4, "a")]],
      ["base", [piece(3, "a", 4)]],
    ];
    for (const [since, parts] of refused)
      expect(() => decodeRecord(record(5, since, parts))).toThrow(/part disk0 of transaction \d down to \d/);
    expect(() => record(5, "base", [piece(5, "x".repeat(300 * 1024))])).toThrow(RangeError);
    expect(() => record(5, "base", [piece(5, "x", 0, "")])).toThrow(RangeError);
  });
});
