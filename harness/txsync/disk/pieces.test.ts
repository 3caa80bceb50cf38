import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Overlay } from "./overlay.ts";
import { decodePiece, piecesOf } from "./pieces.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "ferryman-pieces-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

const disks = ["disk0", "disk1"];

test("pieces of several disks come in the order of their transactions, and only those that are asked for", () => {
  const [first, second] = disks.map((disk) => new Overlay(join(folder, disk))) as [Overlay, Overlay];
  for (let n = 1; n <= 4; n += 1) {
    // The second disk was not written to in every transaction.
    first.write(n, Buffer.of(n));
    if (n % 2 === 0) second.write(10 * n, Buffer.of(n));
    for (const overlay of [first, second]) overlay.mark(n);
  }
  first.write(99, Buffer.of(99));
  const pieces = [...piecesOf({ folder, disks, after: 1, upto: 4 })];
  expect(pieces.map(({ n, bytes }) => [n, decodePiece(bytes).disk, decodePiece(bytes).change.offset])).toEqual([
    [2, "disk0", 2],
    [2, "disk1", 20],
    [3, "disk0", 3],
    [4, "disk0", 4],
    [4, "disk1", 40],
  ]);
  for (const overlay of [first, second]) overlay.close();
});

test("where nothing was written one piece says so, and what was dropped while they are read is passed over", () => {
  const overlay = new Overlay(join(folder, "disk0"));
  const range = { folder, disks: ["disk0"], after: 1, upto: 3 };
  const nothing = [...piecesOf(range)];
  expect(nothing.map(({ n, bytes }) => [n, decodePiece(bytes).change])).toEqual([[3, { offset: 0, length: 0 }]]);
  for (const n of [2, 3]) {
    overlay.write(n, Buffer.of(n));
    overlay.mark(n);
  }
  const reading = piecesOf(range);
  expect(reading.next().value).toMatchObject({ n: 2 });
  overlay.drop(3);
  expect([...reading]).toEqual([]);
  overlay.close();
});
