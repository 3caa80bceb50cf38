import { existsSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { unlinkLarge } from "./unlink.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "ferryman-unlink-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const held = (): number => readdirSync("/proc/self/fd").length;

test("a file's name is gone at once, and nothing holds what it had", async () => {
  const before = held();
  const path = join(folder, "ram");
  writeFileSync(path, Buffer.alloc(2 ** 20));
  unlinkLarge(path);
  expect(existsSync(path)).toBe(false);
  await expect.poll(held).toBe(before);
});

test("one that is not there is gone already; of a link only the link goes", () => {
  unlinkLarge(join(folder, "none"));
  writeFileSync(join(folder, "kept"), "x");
  for (const [name, to] of [
    ["link", "kept"],
    ["dangling", "none"],
  ] as const) {
    symlinkSync(to, join(folder, name));
    unlinkLarge(join(folder, name));
  }
  expect(readdirSync(folder)).toEqual(["kept"]);
});
