import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { PAGE_BYTES } from "../../base/page.ts";
import { RAM_BLOCK } from "../../qemu/command-line.ts";
import { blockSeed, DigestSum, pageLanes } from "../log/index.ts";
import { type PlacedPage, RamImage } from "./ram-image.ts";

const PAGES = 200;
const BLOCKS = [
  { name: RAM_BLOCK, bytes: PAGES * PAGE_BYTES },
  { name: "vga.vram", bytes: 4 * PAGE_BYTES },
];
let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "ferryman-image-"));
  path = join(folder, "ram");
  writeFileSync(path, Buffer.alloc(PAGES * PAGE_BYTES, 7));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const open = (): RamImage =>
  RamImage.open(path, RAM_BLOCK, BLOCKS, [{ name: "vga.vram", content: Buffer.alloc(4 * PAGE_BYTES, 8) }]);

/** Contents by block and page, 0 for zeros. */
type Model = Map<string, number>;

function digestOf(model: Model): { modified_pages: number; digest: string } {
  const sum = new DigestSum();
  for (const [key, value] of model) {
    const [block = "", page] = key.split(":");
    const { lane1, lane2 } = pageLanes(blockSeed(block), Number(page), Buffer.alloc(PAGE_BYTES, value));
    sum.add(lane1, lane2);
  }
  return { modified_pages: sum.pages, digest: sum.hex };
}

const placed = (block: string, page: number, value: number): PlacedPage => ({
  block,
  page,
  bytes: value === 0 ? null : Buffer.alloc(PAGE_BYTES, value),
});

describe("memory that records are laid over", () => {
  const put = fc.record({
    block: fc.constantFrom(RAM_BLOCK, "vga.vram"),
    page: fc.nat(PAGES - 1),
    value: fc.nat(255),
    flush: fc.boolean(),
  });

  it("holds what came last, and knows its digest, in any order, with repeats, zeros and small blocks", () => {
    fc.assert(
      fc.property(fc.array(put, { maxLength: 300 }), fc.nat(300), (puts, torn) => {
        writeFileSync(path, Buffer.alloc(PAGES * PAGE_BYTES, 7));
        const run = (image: RamImage, what: typeof puts): Model => {
          const model: Model = new Map();
          for (const { block, page, value, flush } of what) {
            const at = block === RAM_BLOCK ? page : page % 4;
            image.put(placed(block, at, value));
            model.set(`${block}:${at}`, value);
            if (flush) image.flush();
          }
          image.flush();
          return model;
        };
        // A life that ends in the middle of it, perhaps with something that it still held back.
        const before = open();
        run(before, puts.slice(0, torn));
        before.put(placed(RAM_BLOCK, 3, 9));
        before[Symbol.dispose]();
        using image = open();
        run(image, puts);
        image.beginAnew();
        const model = run(image, puts);
        expect(image.modified).toEqual(digestOf(model));
        expect(image.strays).toBe(0);
        const [ram, small] = [readFileSync(path), image.small[0]?.content as Buffer];
        for (let page = 0; page < PAGES; page += 1)
          expect(ram[page * PAGE_BYTES]).toBe(model.get(`${RAM_BLOCK}:${page}`) ?? 7);
        for (let page = 0; page < 4; page += 1)
          expect(small[page * PAGE_BYTES + 1]).toBe(model.get(`vga.vram:${page}`) ?? 8);
      }),
      { numRuns: 60 },
    );
  });

  it("begun anew it counts what is not laid over again", () => {
    using image = open();
    for (const page of [1, 2, 3]) image.put(placed(RAM_BLOCK, page, 5));
    image.flush();
    image.beginAnew();
    expect(image.strays).toBe(3);
    expect(image.modified.modified_pages).toBe(0);
    image.put(placed(RAM_BLOCK, 2, 5));
    image.flush();
    expect(image.strays).toBe(2);
    image.beginAnew();
    expect(image.strays).toBe(3);
  });

  it("refuses pages that are nowhere", () => {
    using image = open();
    expect(() => image.put(placed(RAM_BLOCK, PAGES, 1))).toThrow(RangeError);
    expect(() => image.put(placed("vga.vram", 4, 1))).toThrow(RangeError);
    expect(() => image.put(placed("rom", 0, 1))).toThrow("the base has not");
    expect(image.modified.modified_pages).toBe(0);
  });

  it("says what the file holds, not what was meant to be written", () => {
    // Writes go nowhere: what is read back is not what was written.
    path = "/dev/full";
    using image = open();
    image.put(placed(RAM_BLOCK, 0, 1));
    expect(() => image.flush()).toThrow("ENOSPC");
    expect(image.modified.modified_pages).toBe(0);
  });

  it("cannot be opened where the file is gone", () => {
    truncateSync(path, 0);
    rmSync(path);
    expect(open).toThrow("ENOENT");
    closeSync(openSync(path, "w"));
    using image = open();
    image.put(placed(RAM_BLOCK, 0, 1));
    image.flush();
    expect(image.modified.modified_pages).toBe(1);
  });
});
