import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { UserError } from "../base/errors.ts";
import { checkMemory } from "./prepare.ts";

describe("the look at the machine's memory", () => {
  it("lets a small run pass and refuses one that no machine can hold, in a sentence that says what to do", () => {
    expect(() => checkMemory(1024, 0)).not.toThrow();
    const refused = (): void => checkMemory(1024 ** 5, 1);
    expect(refused).toThrow(UserError);
    expect(refused).toThrow(/1 run\(s\) at a time with a guest of 1073741824 MiB need .*--memory or --jobs/);
  });

  it("refuses the more runs at a time the sooner it refuses one", () => {
    const passes = (memory_bytes: number, jobs: number): boolean => {
      try {
        checkMemory(memory_bytes, jobs);
        return true;
      } catch {
        return false;
      }
    };
    fc.assert(
      fc.property(fc.nat(64), fc.integer({ min: 1, max: 64 }), (gib, jobs) => {
        if (!passes(gib * 1024 ** 3, jobs)) expect(passes(2 * gib * 1024 ** 3 + 1024 ** 4, jobs)).toBe(false);
      }),
    );
  });
});
