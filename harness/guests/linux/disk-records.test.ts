import { describe, expect, it } from "vitest";
import { PAGE_BYTES } from "../../base/page.ts";
import { expectedFiles, FILE_RECORDS, RAW_SLOTS, wrongInFile, wrongInRing } from "./disk-records.ts";
import { patternPage } from "./pattern.ts";

const SEED = 7;
const DISK = 1;

function ringAfter(told: number): Buffer {
  const bytes = Buffer.alloc(RAW_SLOTS * PAGE_BYTES);
  for (let record = Math.max(1, told - RAW_SLOTS + 1); record <= told; record++) {
    const slot = (record - 1) % RAW_SLOTS;
    patternPage(SEED, 0x8000_0000 + 2 ** 24 + slot, record).copy(bytes, slot * PAGE_BYTES);
  }
  return bytes;
}

describe("records on a raw disk", () => {
  it("are right when each slot has the last record that was written to it", () => {
    for (const told of [0, 1, 5, RAW_SLOTS, RAW_SLOTS + 3])
      expect(wrongInRing(ringAfter(told), SEED, DISK, told)).toEqual([]);
  });

  it("are told apart when one is older, from the future, torn, or of another disk", () => {
    const told = RAW_SLOTS + 10;
    const older = ringAfter(told);
    ringAfter(RAW_SLOTS).copy(older, 0, 0, PAGE_BYTES);
    expect(wrongInRing(older, SEED, DISK, told)).toEqual([
      { place: "slot 0", expected: RAW_SLOTS + 1, found: 1, kind: "older" },
    ]);
    expect(wrongInRing(ringAfter(told + 1), SEED, DISK, told)).toEqual([
      { place: "slot 10", expected: 11, found: told + 1, kind: "future" },
    ]);
    const torn = ringAfter(told);
    torn.fill(9, 4000, 4001);
    expect(wrongInRing(torn, SEED, DISK, told)).toMatchObject([{ place: "slot 0", found: "torn", kind: "other" }]);
    expect(wrongInRing(ringAfter(3), SEED, DISK + 1, 3).map(({ found }) => found)).toEqual(["torn", "torn", "torn"]);
  });
});

describe("records in files", () => {
  const file = (first: number, records: number): Buffer =>
    Buffer.concat(Array.from({ length: records }, (_, at) => patternPage(SEED, 0x8000_0000 + 2 ** 24, first + at)));

  it("are in the last files that are full, and in the one that is not", () => {
    expect(expectedFiles(0)).toEqual([]);
    expect(expectedFiles(3)).toEqual([{ name: "current", first: 1, records: 3 }]);
    expect(expectedFiles(FILE_RECORDS)).toEqual([{ name: "1", first: 1, records: FILE_RECORDS }]);
    const many = expectedFiles(10 * FILE_RECORDS + 1);
    expect(many.map(({ name }) => name)).toEqual(["3", "4", "5", "6", "7", "8", "9", "10", "current"]);
    expect(many.at(-1)).toEqual({ name: "current", first: 10 * FILE_RECORDS + 1, records: 1 });
  });

  it("are wrong when one is missing, older, or more than were written", () => {
    const wanted = { name: "current", first: 33, records: 3 };
    expect(wrongInFile(file(33, 3), SEED, DISK, wanted)).toEqual([]);
    expect(wrongInFile(undefined, SEED, DISK, wanted)).toMatchObject([{ found: "missing" }]);
    expect(wrongInFile(file(33, 2), SEED, DISK, wanted)).toMatchObject([{ expected: 35, found: "missing" }]);
    expect(wrongInFile(file(33, 4), SEED, DISK, wanted)).toMatchObject([{ kind: "future", found: 36 }]);
    expect(wrongInFile(file(1, 3), SEED, DISK, wanted).map(({ kind }) => kind)).toEqual(["older", "older", "older"]);
  });
});
