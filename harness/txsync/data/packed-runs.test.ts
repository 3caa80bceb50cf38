import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { packRuns, unpackRuns } from "./packed-runs.ts";
import { orderedRuns } from "./testing/runs.ts";

const crowded = fc.array(fc.boolean(), { maxLength: 2_000 }).map((pages) => {
  const found: [number, number][] = [];
  for (const [page, is] of pages.entries()) {
    if (!is) continue;
    const last = found.at(-1);
    if (last !== undefined && last[0] + last[1] === page) last[1] += 1;
    else found.push([page, 1]);
  }
  return found;
});

describe("runs of pages", () => {
  it("are the same when they were packed, and take a bit for each page at most", () => {
    fc.assert(
      fc.property(fc.oneof(orderedRuns, crowded), (all) => {
        const packed = packRuns(all);
        expect([...unpackRuns(packed)]).toEqual(all);
        const [first = 0, count = 0] = all.at(-1) ?? [];
        expect(packed.length).toBeLessThanOrEqual(1 + Math.ceil((first + count) / 8));
      }),
    );
  });

  it("of 64 GiB of which every other page was written take 2 MiB", () => {
    const pages = 2 ** 24;
    const every_other = Array.from({ length: pages / 2 }, (_, i): [number, number] => [2 * i, 1]);
    expect(packRuns(every_other).length).toBeLessThanOrEqual(1 + 2 ** 21);
  });

  it("lie far behind in a large memory", () => {
    const far: [number, number][] = [[2 ** 40, 3]];
    expect([...unpackRuns(packRuns(far))]).toEqual(far);
  });

  it("that are out of order are refused", () => {
    for (const all of [
      [
        [5, 1],
        [4, 1],
      ],
      [[0, 0]],
      [
        [3, 2],
        [4, 1],
      ],
    ] as [number, number][][])
      expect(() => packRuns(all)).toThrow(RangeError);
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
