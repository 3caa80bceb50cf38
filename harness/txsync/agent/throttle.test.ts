import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { HOLD_MS_MAX, Throttle } from "./throttle.ts";

const latencies = fc.array(fc.double({ min: 0, max: 10_000, noNaN: true }), { maxLength: 100 });

describe("the throttle", () => {
  it("never holds a guest whose records are stored in time, and never more than half of its time, 250 ms in one go", () => {
    fc.assert(
      fc.property(latencies, fc.double({ min: 0, max: 100_000, noNaN: true }), (all, ran_ms) => {
        const throttle = new Throttle({ slow_ms: 1_000 });
        for (const latency_ms of all) {
          throttle.stored(latency_ms);
          expect(throttle.share).toBeGreaterThanOrEqual(0);
          expect(throttle.share).toBeLessThanOrEqual(0.5);
          expect(throttle.hold_ms(ran_ms)).toBeLessThanOrEqual(HOLD_MS_MAX);
        }
        if (all.every((latency_ms) => latency_ms <= 1_000)) expect(throttle.hold_ms(ran_ms)).toBe(0);
      }),
    );
  });

  it("goes up and down in steps of 5 %, and is gone again when the records are", () => {
    const throttle = new Throttle({ slow_ms: 1_000 });
    expect([1_500, 1_500, 700, 300].map((latency_ms) => throttle.stored(latency_ms))).toEqual([
      true,
      true,
      false,
      true,
    ]);
    expect(throttle.share).toBeCloseTo(0.05);
    expect(throttle.hold_ms(100)).toBeCloseTo((0.05 / 0.95) * 100);
    for (let i = 0; i < 20; i += 1) throttle.stored(9_999);
    expect([throttle.share, throttle.stored(9_999)]).toEqual([0.5, false]);
    for (let i = 0; i < 20; i += 1) throttle.stored(1);
    expect([throttle.share, throttle.hold_ms(1_000)]).toEqual([0, 0]);
  });
});
