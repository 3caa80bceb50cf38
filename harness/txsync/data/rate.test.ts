import fc from "fast-check";
import { expect, test } from "vitest";
import { Rate } from "./rate.ts";

test("whoever waits for its turn sends no more than the rate, but for a burst", () => {
  fc.assert(
    fc.property(fc.array(fc.nat({ max: 100_000 }), { minLength: 1, maxLength: 50 }), (sizes) => {
      let now_ms = 0;
      let sent = 0;
      const rate = new Rate(1_000_000, () => now_ms);
      for (const bytes of sizes) {
        now_ms += rate.wait_ms;
        rate.count(bytes);
        sent += bytes;
      }
      const last = sizes.at(-1) ?? 0;
      expect(sent - last).toBeLessThanOrEqual(((now_ms + 250) / 1000) * 1_000_000 + 1);
    }),
  );
});

test("without a bound nobody waits, and what was only counted is waited for by the others", () => {
  const free = new Rate(0);
  free.count(1e12);
  expect(free.wait_ms).toBe(0);
  const bound = new Rate(1000, () => 0);
  bound.count(1000);
  expect(bound.wait_ms).toBe(750);
});

test("what goes before the rest is made up for by it, out of half of the rate", () => {
  let now_ms = 0;
  const rate = new Rate(1_000_000, () => now_ms);
  /** Sends in pieces of 1,000 bytes for a second, while so much goes before it every 10 ms. @returns what was sent */
  const second = (before: number): number => {
    let sent = 0;
    for (const until_ms = now_ms + 1_000; now_ms < until_ms; now_ms += 10) {
      rate.spent(before);
      while (rate.wait_ms === 0) {
        rate.count(1_000);
        sent += 1_000;
      }
    }
    return sent;
  };
  second(0);
  expect(second(0)).toBeCloseTo(1_000_000, -4);
  expect(second(2_000)).toBeCloseTo(800_000, -4);
  expect(second(20_000)).toBeCloseTo(500_000, -4);
  // What is left of it then is forgotten but for a tenth of a second's worth.
  const after = second(0);
  expect(after).toBeGreaterThan(850_000);
  expect(after).toBeLessThan(950_000);
});
