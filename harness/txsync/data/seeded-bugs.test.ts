import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { PAGE_BYTES } from "../../base/page.ts";
import { RAM_BLOCK } from "../../qemu/command-line.ts";
import { type PlacedPage, RamImage } from "./ram-image.ts";
import { type SpoolPage, tampered } from "./testing/tamper.ts";
import { Three } from "./testing/three.ts";

let folder: string;
let three: Three;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "ferryman-seeded-"));
  three = await Three.make(folder, 1);
  // Pages 4 and 5 of RAM, page 2 of the small block, and others; page 7 becomes zeros.
  three.guest.write(0, 4, 11);
  three.guest.write(0, 5, 12);
  three.guest.write(0, 6, 14);
  three.guest.write(0, 7, 0);
  three.guest.write(0, 60, 15);
  three.guest.write(1, 2, 13);
});
afterEach(async () => {
  vi.restoreAllMocks();
  await three.close();
  rmSync(folder, { recursive: true, force: true });
});

const filled = (byte: number): Buffer => Buffer.alloc(PAGE_BYTES, byte);
const page = (block: number, number: number, bytes: (was: Buffer | null) => Buffer | null) => (pages: SpoolPage[]) =>
  pages.map((one) => (one.block === block && one.page === number ? { ...one, bytes: bytes(one.bytes) } : one));

describe("a bug on the way to the escrow: the record is refused, and what was stored before is restored", () => {
  const BUGS: Record<string, (pages: SpoolPage[]) => SpoolPage[]> = {
    "a page is left out": (pages) => pages.filter((one) => !(one.block === 0 && one.page === 5)),
    "a page is of the next epoch": page(0, 4, () => filled(99)),
    "a page is stale": page(0, 5, () => filled(12)),
    "a page of zeros is lost": (pages) => pages.filter((one) => one.bytes !== null),
    "a page of zeros is something else": page(0, 6, () => filled(1)),
    "a page is taken for zeros": page(0, 4, () => null),
    "a page of a small block is wrong": page(1, 2, () => filled(14)),
    "a page of a small block is another one's": (pages) =>
      pages.map((one) => (one.block === 1 ? { ...one, page: one.page + 1 } : one)),
    "a page too many": (pages) => [{ block: 0, page: 1, bytes: filled(1) }, ...pages],
  };
  it.each(Object.keys(BUGS))("%s", async (bug) => {
    await three.take("base", true);
    three.guest.write(0, 4, 21);
    three.guest.write(0, 5, 22);
    three.guest.write(0, 6, 0);
    three.guest.write(1, 2, 23);
    const outcome = await three.offer(tampered(three.record("last"), BUGS[bug] as never));
    expect(outcome).toMatchObject({ outcome: "violation", why: expect.stringContaining("modified set") });
    expect(three.escrow?.state?.last).toBe(1);
    await three.restored();
    // One without the bug is taken after that.
    await three.take("base", true);
    await three.restored();
  });

  it("a record is sent twice, or out of its turn", async () => {
    const first = three.record("base");
    expect(await three.offer(first)).toMatchObject({ outcome: "stored" });
    three.last = 1;
    const keep = tampered(first, (pages) => pages);
    three.guest.write(0, 4, 31);
    expect(await three.offer(three.record("last"))).toMatchObject({ outcome: "stored" });
    three.last = 2;
    expect(await three.offer(keep)).toMatchObject({ outcome: "violation", why: expect.stringContaining("has record") });
    await three.restored();
  });

  it("a record since the base lacks what the log has", async () => {
    await three.take("base", true);
    three.guest.write(0, 40, 41);
    const record = tampered(three.record("base"), (pages) => pages.filter((one) => one.page === 40));
    expect(await three.offer(record)).toMatchObject({ outcome: "violation", why: expect.stringContaining("lacks") });
  });

  it("a record goes on from one that the log does not have", async () => {
    await three.take("base", true);
    three.record("last");
    three.last = 2;
    const record = three.record("last");
    expect(await three.offer(record)).toMatchObject({ outcome: "violation", why: expect.stringContaining("goes on") });
    three.last = 1;
    await three.restored();
  });
});

describe("a bug where records are laid over the base: the memory does not run", () => {
  type Put = (this: RamImage, page: PlacedPage) => void;
  /** What becomes of a page that is to be laid over. */
  function bug(put: (image: RamImage, page: PlacedPage, right: (page: PlacedPage) => void) => void): void {
    const right = RamImage.prototype.put;
    vi.spyOn(RamImage.prototype, "put").mockImplementation(function (this: RamImage, what: PlacedPage) {
      put(this, what, (page) => right.call(this, page));
    } as Put);
  }
  const is = ({ block, page }: PlacedPage, other: string, number: number): boolean =>
    block === other && page === number;

  const BUGS: Record<string, Parameters<typeof bug>[0]> = {
    "a page is left out": (_, what, right) => {
      if (!is(what, RAM_BLOCK, 5)) right(what);
    },
    "a page of zeros is lost": (_, what, right) => {
      if (what.bytes !== null) right(what);
    },
    "a page is stale": (_, what, right) => right(is(what, RAM_BLOCK, 4) ? { ...what, bytes: filled(11) } : what),
    "a page is laid over twice, the older one last": (_, what, right) => {
      right(what);
      if (is(what, RAM_BLOCK, 4)) right({ ...what, bytes: filled(11) });
    },
    "a page of a small block is wrong": (_, what, right) =>
      right(is(what, "pc.bios", 2) ? { ...what, bytes: filled(14) } : what),
    "a page stands at another one's place": (_, what, right) =>
      right(is(what, RAM_BLOCK, 5) ? { ...what, page: 50 } : what),
  };
  it.each(Object.keys(BUGS))("%s", async (which) => {
    await three.take("base", true);
    bug(BUGS[which] as never);
    await expect(three.source.restore(1)).rejects.toThrow("twice: it must not run");
    expect(three.violations).toHaveLength(1);
  });

  it("once, it is said, and everything since the base is laid over again", async () => {
    await three.take("base", true);
    let times = 0;
    bug((_, what, right) => {
      if (is(what, RAM_BLOCK, 5) && times++ === 0) return;
      right(what);
    });
    await three.restored();
    expect(three.violations).toEqual([expect.stringContaining("laid over again")]);
  });

  it("a page that went astray is not forgotten because everything else is right the second time", async () => {
    await three.take("base", true);
    let times = 0;
    bug((_, what, right) => right(is(what, RAM_BLOCK, 5) && times++ === 0 ? { ...what, page: 50 } : what));
    await expect(three.source.restore(1)).rejects.toThrow("1 pages were laid over that it does not have");
  });
});
