import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { breakLock, lockBuilding } from "./lock.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "ferryman-test-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

it("lets one build at a time, and says who waits", async () => {
  const path = join(folder, "lock");
  const said: string[] = [];
  const first = await lockBuilding(() => undefined, undefined, path);
  let second: Disposable | undefined;
  const waiting = lockBuilding(
    (line) => {
      said.push(line);
      expect(second).toBeUndefined();
      first[Symbol.dispose]();
    },
    undefined,
    path,
  );
  second = await waiting;
  expect(said).toHaveLength(1);
  second[Symbol.dispose]();
  expect(existsSync(path)).toBe(false);
});

it("breaks the lock of a process that is gone", async () => {
  const path = join(folder, "lock");
  writeFileSync(path, `${hostname()}/999999999/1`);
  const lock = await lockBuilding(() => expect.fail("there is nobody to wait for"), undefined, path);
  lock[Symbol.dispose]();
});

it("does not break the lock of whoever came after the one that is gone", () => {
  const path = join(folder, "lock");
  writeFileSync(path, "somebody new");
  breakLock(path, `${hostname()}/999999999/1`);
  expect(readFileSync(path, "utf8")).toBe("somebody new");
  breakLock(path, "somebody new");
  breakLock(path, "somebody new");
  expect(readdirSync(folder)).toEqual([]);
});

it("stops waiting when told to", async () => {
  const path = join(folder, "lock");
  using _first = await lockBuilding(() => undefined, undefined, path);
  const stop = new AbortController();
  const waiting = lockBuilding(() => stop.abort(new Error("enough")), stop.signal, path);
  await expect(waiting).rejects.toThrow(/enough|abort/);
});
