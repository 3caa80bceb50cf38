import { describe, expect, it } from "vitest";
import { fuzz } from "./fuzz.ts";
import { Dice, mutateValue } from "./mutate.ts";
import type { FuzzTarget } from "./target.ts";
import { targets } from "./targets.ts";

/** A short turn; `npm run fuzz` makes it a million. */
const CASES = 1_500;

describe("what reads from outside", () => {
  it.each(targets().map((target) => [target.name, target] as const))(
    "says what is wrong with an input that is nearly valid, and where: %s",
    async (_, target) => {
      const { bug, cases, kinds, taken } = await fuzz(target, { seed: 1, cases: CASES });
      expect(bug).toBeNull();
      expect(cases).toBe(CASES);
      // What is broken is found to be, in more ways than one.
      expect(taken).toBeLessThan(CASES);
      expect(kinds).toBeGreaterThan(2);
    },
  );
});

describe("the fuzzer bites", () => {
  /** A reader with a bug two breaks deep. */
  const target: FuzzTarget<Buffer> = {
    name: "buggy",
    seeds: [Buffer.from("abcdef")],
    mutate: (dice, valid) => {
      const bytes = Buffer.from(valid);
      bytes[dice.below(6)] = dice.below(256);
      return bytes;
    },
    feed: (bytes) => {
      if (bytes[0] === 0x61) return { took: true };
      if (bytes[1] === 0x62) return { took: false, said: "the first byte" };
      if (bytes[2] === 0) throw new RangeError("outside of the buffer");
      return { took: false, said: "the second byte" };
    },
    show: (bytes) => bytes.toString("hex"),
  };

  it("finds what a reader must not do, by keeping inputs that showed something new", async () => {
    const { bug } = await fuzz(target, { seed: 1, cases: 20_000 });
    expect(bug?.what).toBe("RangeError: outside of the buffer");
  });

  it("breaks the same things from the same seed", async () => {
    const [once, twice] = [
      await fuzz(target, { seed: 5, cases: 3_000 }),
      await fuzz(target, { seed: 5, cases: 3_000 }),
    ];
    expect(once).toEqual(twice);
  });

  it("puts in nothing that a reader may freeze for the inputs behind it", () => {
    const freeze = (part: unknown): void => {
      if (typeof part !== "object" || part === null) return;
      for (const inner of Object.values(part)) freeze(inner);
      Object.freeze(part);
    };
    const dice = new Dice(1);
    for (let turn = 0; turn < 3_000; turn += 1) freeze(mutateValue(dice, { a: [1, { b: "c" }], d: [] }));
  });
});
