import { execFileSync } from "node:child_process";
import { closeSync, mkdtempSync, openSync, rmSync, truncateSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { FIRST_NOT_ZERO } from "./first-not-zero.ts";

const MIB = 1024 ** 2;

it("finds the first byte that is not zero in the end of a file, and does not look before it", () => {
  const folder = mkdtempSync(join(tmpdir(), "ferryman-zero-"));
  const path = join(folder, "ram");
  const look = (length: number): number =>
    Number(execFileSync(process.execPath, ["-e", FIRST_NOT_ZERO, path, String(length)], { encoding: "utf8" }));
  try {
    const file = openSync(path, "w");
    truncateSync(path, 8 * MIB);
    writeSync(file, "x", 3 * MIB - 1);
    expect(look(5 * MIB)).toBe(-1);
    expect(look(5 * MIB + 1)).toBe(0);
    writeSync(file, "x", 8 * MIB - 1);
    expect(look(5 * MIB)).toBe(5 * MIB - 1);
    expect(look(8 * MIB)).toBe(3 * MIB - 1);
    closeSync(file);
    expect(FIRST_NOT_ZERO).not.toContain("'");
  } finally {
    rmSync(folder, { recursive: true });
  }
});
