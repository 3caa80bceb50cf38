import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type RegisterOperation, stale } from "./register.ts";

const set = (value: number, began: number, ended: number): RegisterOperation => ({ sets: true, value, began, ended });
const get = (value: number, began: number, ended: number): RegisterOperation => ({ sets: false, value, began, ended });

/** What a register would do that takes the operations in some order: by trying them all. */
function hasAnOrder(operations: readonly RegisterOperation[], value = 0): boolean {
  const known = operations.filter(({ ended }) => ended >= 0);
  if (known.length === 0) return true;
  const first_end = Math.min(...known.map(({ ended }) => ended));
  return operations.some((next) => {
    // Whatever ended before it began is done by then; and what nobody knows of may never be.
    if (next.began > first_end || (!next.sets && next.ended >= 0 && next.value !== value)) return false;
    const left = operations.filter((one) => one !== next);
    return hasAnOrder(left, next.sets ? next.value : value);
  });
}

/** Operations with times that are places in one order; reads of whatever value. */
const histories = fc
  .array(
    fc.record({
      sets: fc.boolean(),
      value: fc.integer({ min: 0, max: 3 }),
      lasts: fc.double({ min: 0, max: 1, noNaN: true }),
      unknown: fc.integer({ min: 0, max: 5 }),
    }),
    { maxLength: 6 },
  )
  .chain((drawn) =>
    fc
      .shuffledSubarray(
        Array.from({ length: 2 * drawn.length }, (_, i) => i + 1),
        { minLength: 2 * drawn.length },
      )
      .map((places) =>
        drawn.map(({ sets, value, unknown }, i): RegisterOperation => {
          const [a = 0, b = 0] = [places[2 * i], places[2 * i + 1]];
          return {
            sets,
            value: sets ? i + 1 : value,
            began: Math.min(a, b),
            ended: unknown === 0 ? -1 : Math.max(a, b),
          };
        }),
      ),
  );

describe("operations of a register", () => {
  it("are told as somebody tells them who tries every order", () => {
    const seen = { fine: 0, wrong: 0 };
    fc.assert(
      fc.property(histories, (operations) => {
        const fine = hasAnOrder(operations);
        seen[fine ? "fine" : "wrong"] += 1;
        expect(stale(operations) === undefined).toBe(fine);
      }),
      { numRuns: 3_000 },
    );
    expect(Math.min(seen.fine, seen.wrong)).toBeGreaterThan(100);
  });

  it("are fine where they overlap, and where what nobody knows of was done, or was not", () => {
    expect(stale([set(1, 1, 4), get(0, 2, 3), get(1, 5, 6)])).toBeUndefined();
    expect(stale([set(1, 1, 2), set(2, 3, -1), get(1, 4, 5)])).toBeUndefined();
    expect(stale([set(1, 1, 2), set(2, 3, -1), get(1, 4, 5), get(2, 6, 7)])).toBeUndefined();
  });

  it("are named where an acknowledged write is gone, an old value is back, or one is there that nobody set", () => {
    expect(stale([set(1, 1, 2), set(2, 3, 4), get(1, 5, 6)])).toBe(
      "2 was set and is gone: 1 was there before and after",
    );
    expect(stale([set(1, 1, 2), get(0, 3, 4)])).toBe("1 was set and is gone: 0 was there before and after");
    const back = [set(1, 1, 2), set(2, 3, 4), get(2, 5, 6), get(1, 7, 8)];
    expect(stale(back)).toBe("1 and 2 were there in turns: one of them came back");
    expect(stale([get(7, 1, 2)])).toBe("7 was read, which nobody had set");
    expect(stale([get(7, 1, 2), set(7, 3, 4)])).toBe("7 was read before it was set");
  });

  it("are many", () => {
    const many = Array.from({ length: 100_000 }, (_, i) =>
      i % 2 === 0 ? set(i + 1, 2 * i, 2 * i + 1) : get(i, 2 * i, 2 * i + 1),
    );
    expect(stale(many)).toBeUndefined();
    expect(stale([...many, get(1, 500_000, 500_001)])).toMatch(/^1 and 3 were there in turns/);
  });
});
