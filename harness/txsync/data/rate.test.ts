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
