import { mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { privateFolder } from "./private-folder.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "ferryman-test-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

it("is open to its user alone, whatever it was before", () => {
  mkdirSync(join(folder, "ferryman"), { mode: 0o755 });
  expect(privateFolder({ XDG_RUNTIME_DIR: folder })).toBe(join(folder, "ferryman"));
  expect(statSync(join(folder, "ferryman")).mode & 0o777).toBe(0o700);
});

it("is in the home folder where there is no runtime folder", () => {
  const path = privateFolder({ HOME: folder, XDG_RUNTIME_DIR: join(folder, "nowhere") });
  expect(path).toBe(join(folder, ".cache/ferryman"));
  expect(statSync(path).mode & 0o777).toBe(0o700);
});

it("is never a link to somewhere else", () => {
  mkdirSync(join(folder, "elsewhere"));
  symlinkSync(join(folder, "elsewhere"), join(folder, "ferryman"));
  expect(() => privateFolder({ XDG_RUNTIME_DIR: folder })).toThrow(/no folder of this user's/);
});
