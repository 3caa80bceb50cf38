import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { FileRoom, takeRoom } from "./file-room.ts";

const MIB = 2 ** 20;
const BLOCK_BYTES = 512;
let root: string;

beforeAll(() => {
  root = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "file-room-test-"));
});

afterAll(() => {
  rmSync(root, { recursive: true, force: true });
});

const roomOf = (path: string): number => statSync(path).blocks * BLOCK_BYTES;

it("frees the beginning of a file that goes on growing, and nothing else", async () => {
  const path = join(root, "grows");
  const room = new FileRoom(path, MIB);
  writeFileSync(path, Buffer.alloc(3 * MIB, "a"));
  expect(await room.free(MIB - 1)).toBe(false);
  expect(roomOf(path)).toBeGreaterThanOrEqual(3 * MIB);
  expect(await room.free(2 * MIB + 100)).toBe(true);
  expect(roomOf(path)).toBeLessThan(1.1 * MIB);
  appendFileSync(path, "end");
  expect(statSync(path).size).toBe(3 * MIB + 3);
  expect(
    readFileSync(path)
      .subarray(2 * MIB + 100)
      .toString(),
  ).toBe(`${"a".repeat(MIB - 100)}end`);
  // What is free is not freed again.
  expect(await room.free(2 * MIB + 200)).toBe(false);
  rmSync(path);
  expect(await room.free(9 * MIB)).toBe(false);
});

it("takes room that nothing is written into yet", async () => {
  const [one, two] = [join(root, "one"), join(root, "two")];
  for (const path of [one, two]) writeFileSync(path, "");
  await takeRoom([one, two], MIB);
  for (const path of [one, two]) expect([statSync(path).size, roomOf(path) >= MIB]).toEqual([0, true]);
  appendFileSync(one, Buffer.alloc(MIB));
  expect(roomOf(one)).toBeLessThan(1.1 * MIB);
  await expect(takeRoom([join(root, "nowhere")], MIB)).rejects.toThrow(/nowhere/);
});
