import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { PAGE_BYTES } from "../../base/page.ts";
import { BasePages, upToFirstMissing } from "./page-source.ts";

const PAGES = 20;
let root: string;
let file: FileHandle;

beforeAll(async () => {
  root = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "page-source-test-"));
  file = await open(join(root, "ram"), "wx+");
  await file.truncate(PAGES * PAGE_BYTES);
  for (const page of [2, 3, 19]) await file.write(Buffer.alloc(PAGE_BYTES, page), 0, PAGE_BYTES, page * PAGE_BYTES);
  // Zeros that were written are zeros like those that were not.
  await file.write(Buffer.alloc(PAGE_BYTES), 0, PAGE_BYTES, 4 * PAGE_BYTES);
});

afterAll(async () => {
  await file.close();
  rmSync(root, { recursive: true, force: true });
});

describe("the base", () => {
  const small = [{ name: "pc.bios", content: Buffer.concat([Buffer.alloc(PAGE_BYTES, 7), Buffer.alloc(PAGE_BYTES)]) }];
  const read = (block: string, first: number, count: number): unknown => {
    const pages = new BasePages("ram0", file.fd, PAGES * PAGE_BYTES, small).read({ block, first, count });
    return pages.map((page) => (page instanceof Uint8Array ? [...new Set(page)] : page));
  };

  it("gives pages of main RAM and of the small blocks, null for zeros", () => {
    expect(read("ram0", 1, 4)).toEqual([null, [2], [3], null]);
    expect(read("pc.bios", 0, 2)).toEqual([[7], null]);
    expect(read("ram0", 0, 0)).toEqual([]);
  });

  it("gives nothing for pages that are nowhere, in their places", () => {
    expect(read("ram0", 18, 4)).toEqual([null, [19], undefined, undefined]);
    expect(read("ram0", 2 ** 32 - 1, 2)).toEqual([undefined, undefined]);
    expect(read("pc.bios", 1, 2)).toEqual([null, undefined]);
    expect(read("nowhere", 0, 2)).toEqual([undefined, undefined]);
  });

  it("gives no page that the file does not have, whatever size it was said to be", () => {
    const short = new BasePages("ram0", file.fd, (PAGES + 5) * PAGE_BYTES, []);
    const pages = short.read({ block: "ram0", first: PAGES - 1, count: 3 });
    expect(pages.map((page) => page?.[0])).toEqual([19, undefined, undefined]);
  });
});

describe("an answer", () => {
  it("ends at the first page that is missing: each of its pages is the one of its place", () => {
    const page = fc.option(fc.uint8Array({ minLength: 1, maxLength: 1 }), { nil: null });
    fc.assert(
      fc.property(fc.array(fc.option(page, { nil: undefined, freq: 4 }), { maxLength: 12 }), (pages) => {
        const answer = upToFirstMissing(pages);
        for (const [i, one] of answer.entries()) expect(one).toBe(pages[i]);
        expect(answer).not.toContain(undefined);
        expect(answer.length === pages.length || pages[answer.length] === undefined).toBe(true);
      }),
    );
  });
});
