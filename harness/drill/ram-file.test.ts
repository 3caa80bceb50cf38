import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, expect, test } from "vitest";
import { PAGE_BYTES } from "../base/page.ts";
import { type ChangedPage, PageSet } from "../txsync/dirty/pages.ts";
import { type Base, buildRamFile, consumeBase } from "./ram-file.ts";

const PAGES = 600;
const SMALL_PAGES = 3;
let folder: string;
let base: Base;
let base_bytes: Buffer;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "ferryman-ram-"));
  base_bytes = Buffer.alloc(PAGES * PAGE_BYTES);
  for (let page = 0; page < PAGES; page += 2)
    base_bytes.fill(1 + (page % 255), page * PAGE_BYTES, (page + 1) * PAGE_BYTES);
  base = {
    block: "ram0",
    path: join(folder, "base"),
    small: [{ name: "pc.bios", content: Buffer.alloc(SMALL_PAGES * PAGE_BYTES, 9) }],
  };
  writeFileSync(base.path, base_bytes);
});
afterEach(() => rmSync(folder, { recursive: true }));

const changedPage: fc.Arbitrary<ChangedPage> = fc.oneof(
  fc.record({ block: fc.constant("ram0"), page: fc.nat({ max: PAGES - 1 }), bytes: content() }),
  fc.record({ block: fc.constant("pc.bios"), page: fc.nat({ max: SMALL_PAGES - 1 }), bytes: content() }),
);
function content(): fc.Arbitrary<Buffer | null> {
  return fc.option(
    fc.integer({ min: 1, max: 255 }).map((byte) => Buffer.alloc(PAGE_BYTES, byte)),
    { nil: null },
  );
}
const log = fc.array(
  fc.array(changedPage, { maxLength: 8 }).map((pages) => PageSet.of(pages)),
  { maxLength: 5 },
);

/** What the RAM has to be, computed the plain way. */
function expected(sets: readonly PageSet[]): { ram: Buffer; bios: Buffer } {
  const ram = Buffer.from(base_bytes);
  const bios = Buffer.alloc(SMALL_PAGES * PAGE_BYTES, 9);
  for (const { block, page, bytes } of sets.flatMap((set) => [...set])) {
    (block === "ram0" ? ram : bios).fill(bytes ?? 0, page * PAGE_BYTES, (page + 1) * PAGE_BYTES);
  }
  return { ram, bios };
}

test("the restored RAM is the base with every transaction's pages over it, the last one winning", async () => {
  await fc.assert(
    fc.asyncProperty(log, async (sets) => {
      const path = join(folder, "restored");
      const built = await buildRamFile(base, sets, path);
      const { ram, bios } = expected(sets);
      expect(readFileSync(path).equals(ram)).toBe(true);
      expect(built.small[0]?.content.equals(bios)).toBe(true);
      // The base stays what it was, for another try.
      expect(readFileSync(base.path).equals(base_bytes)).toBe(true);
      expect(base.small[0]?.content.every((byte) => byte === 9)).toBe(true);
      rmSync(path);
    }),
    { numRuns: 25 },
  );
});

test("a base that is consumed, even after a crash in the middle of it, gives the same RAM", async () => {
  await fc.assert(
    fc.asyncProperty(log, fc.nat({ max: 5 }), async (sets, applied_before_crash) => {
      writeFileSync(base.path, base_bytes);
      await consumeBase(base, sets.slice(0, applied_before_crash), base.path);
      const path = join(folder, "restored");
      await consumeBase(base, sets, path);
      expect(existsSync(base.path)).toBe(false);
      expect(readFileSync(path).equals(expected(sets).ram)).toBe(true);
    }),
    { numRuns: 25 },
  );
});

test("pages that are zero in the base stay holes", async () => {
  writeFileSync(base.path, Buffer.alloc(4 << 20));
  const path = join(folder, "restored");
  await buildRamFile(base, [], path);
  expect(statSync(path)).toMatchObject({ size: 4 << 20, blocks: 0 });
});

test("a file that exists is left alone, and a failed build leaves none behind", async () => {
  const path = join(folder, "restored");
  const outside = PageSet.of([{ block: "ram0", page: PAGES, bytes: null }]);
  await expect(buildRamFile(base, [outside], path)).rejects.toThrow(/page 600 is outside ram0/);
  expect(existsSync(path)).toBe(false);
  const unknown = PageSet.of([{ block: "vga.vram", page: 0, bytes: null }]);
  await expect(buildRamFile(base, [unknown], path)).rejects.toThrow(/RAM block vga\.vram/);
  writeFileSync(path, "somebody's memory");
  await expect(buildRamFile(base, [], path)).rejects.toThrow(/needs a new file/);
  expect(readFileSync(path, "utf8")).toBe("somebody's memory");
  await expect(buildRamFile({ ...base, path: join(folder, "none") }, [], join(folder, "x"))).rejects.toThrow(
    /cannot read the base/,
  );
});
