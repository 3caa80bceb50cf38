import fc from "fast-check";
import { expect, test } from "vitest";
import { BufferPool } from "./buffer-pool.ts";

const BYTES = 4096;
const MOST = 3;

test("memory is never two owners', and no more of it is kept than was said", () => {
  const step = fc.oneof(
    fc.record({ do: fc.constant("take" as const), length: fc.integer({ min: 0, max: 2 * BYTES }) }),
    fc.record({ do: fc.constant("give" as const), which: fc.nat(20) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const pool = new BufferPool(BYTES, MOST);
      const owned: { readonly buffer: Buffer; readonly mark: number }[] = [];
      for (const [i, each] of steps.entries()) {
        if (each.do === "take") {
          const buffer = pool.take(each.length);
          expect(buffer.length).toBe(each.length);
          buffer.fill(i + 1);
          owned.push({ buffer, mark: i + 1 });
        } else {
          const [given] = owned.splice(each.which % Math.max(1, owned.length), 1);
          if (given !== undefined) pool.give(given.buffer);
        }
        expect(pool.free).toBeLessThanOrEqual(MOST);
        for (const { buffer, mark } of owned) expect(buffer.every((byte) => byte === mark)).toBe(true);
      }
    }),
  );
});

test("memory is used again; what is short does not take a whole buffer, and what is given twice is had once", () => {
  const pool = new BufferPool(BYTES, MOST);
  const first = pool.take(BYTES);
  pool.give(first.subarray(10, 20));
  pool.give(first);
  expect(pool.free).toBe(1);
  expect(pool.take(BYTES - 1).buffer).toBe(first.buffer);
  expect(pool.free).toBe(0);
  pool.give(first);
  pool.give(pool.take(16));
  pool.give(Buffer.alloc(BYTES + 1));
  expect(pool.free).toBe(1);
});
