import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { HASH_MEMORY } from "./hash-memory.ts";

test("the program gives the digest of each stretch, and refuses what ends before it", () => {
  const folder = mkdtempSync(join(tmpdir(), "ferryman-hash-"));
  try {
    const path = join(folder, "memory");
    const content = Buffer.from(Array.from({ length: 300_000 }, (_, i) => i % 251));
    writeFileSync(path, content);
    const digests = (...stretches: readonly string[]): readonly string[] =>
      execFileSync(process.execPath, ["-e", HASH_MEMORY, path, ...stretches], { encoding: "utf8", stdio: "pipe" })
        .trim()
        .split("\n");
    const of = (from: number, bytes: number): string =>
      createHash("sha256")
        .update(content.subarray(from, from + bytes))
        .digest("hex");
    expect(digests("0:300000", "4096:131072")).toEqual([of(0, 300_000), of(4_096, 131_072)]);
    expect(() => digests("299000:4096")).toThrow("it ends after 1000 bytes");
    expect(HASH_MEMORY).not.toContain("'");
  } finally {
    rmSync(folder, { recursive: true });
  }
});
