import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { countRuns, packPages, runsOf, unpackPages, unpackRuns, without } from "./page-runs.ts";

const crowded = fc.uint8Array({ max: 1, maxLength: 2_000 });
/** Few runs, far from each other. */
const sparse = fc.array(fc.tuple(fc.nat(5_000), fc.integer({ min: 1, max: 300 })), { maxLength: 60 }).map((steps) => {
  const pages = new Uint8Array(steps.reduce((sum, [gap, length]) => sum + gap + length, 7));
  let end = 0;
  for (const [gap, length] of steps) {
    pages.fill(1, end + gap, end + gap + length);
    end += gap + length;
  }
  return pages;
});
const any = fc.oneof(crowded, sparse);

describe("pages of a block", () => {
  it("are the same when they were packed, and take a bit for each at most", () => {
    fc.assert(
      fc.property(any, (pages) => {
        const packed = packPages(pages);
        const { is, count } = unpackPages(packed, pages.length);
        expect(Buffer.from(is).equals(pages)).toBe(true);
        expect(count).toBe(pages.filter((one) => one === 1).length);
        expect(countRuns(pages)).toEqual({ runs: runsOf(pages).length, pages: pages.reduce((sum, is) => sum + is, 0) });
        expect([...unpackRuns(packed)]).toEqual(runsOf(pages));
        expect(packed.length).toBeLessThanOrEqual(1 + Math.ceil((pages.lastIndexOf(1) + 1) / 8));
      }),
    );
  });

  it("are those that another one lacks", () => {
    fc.assert(
      fc.property(crowded, crowded, (pages, but) => {
        expect(Array.from(without(pages, but))).toEqual(Array.from(pages, (is, page) => (but[page] === 1 ? 0 : is)));
        expect(without(pages, undefined)).toBe(pages);
      }),
    );
  });

  it("of 64 GiB of which every other one was written take 2 MiB", () => {
    const pages = new Uint8Array(2 ** 24).map((_, page) => page & 1);
    expect(packPages(pages).length).toBeLessThanOrEqual(1 + 2 ** 21);
  });

  it("that are said to be where there are none are refused", () => {
    expect(() => unpackPages(packPages(Uint8Array.of(0, 1, 1)), 2)).toThrow(/2 pages from 1 on, of 2/);
  });

  it("that make no sense are refused, and never read for ever", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        try {
          for (const [first, count] of unpackRuns(bytes)) expect(first >= 0 && count >= 1).toBe(true);
        } catch (error) {
          expect(error).toBeInstanceOf(RangeError);
        }
      }),
    );
  });
});
