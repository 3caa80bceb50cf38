import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Estimate, roughly } from "./estimate.ts";
import { isQuiet } from "./machine.ts";
import { type Configuration, configurationsOf, type Planned, partsOf, planOf, TOPICS } from "./plan.ts";

const PARTS = partsOf(TOPICS, "agent");
const list = fc.uniqueArray(fc.integer({ min: 1, max: 100_000 }), { minLength: 1, maxLength: 4 });
const keyOf = ({ scenario, recovery, variant, memory_mib, write_rate_pages_per_s }: Planned): string =>
  [scenario, recovery, variant, memory_mib, write_rate_pages_per_s].join(" ");
const placeOf = ({ memory_mib, write_rate_pages_per_s }: Configuration): string =>
  `${memory_mib} ${write_rate_pages_per_s}`;

describe("the plan of a bench", () => {
  it("runs everything once in each turn, one turn after the other, with one guest a turn", () => {
    fc.assert(
      fc.property(list, list, fc.integer({ min: 1, max: 7 }), fc.nat(2 ** 32 - 1), (memories, rates, repeat, seed) => {
        const configurations = configurationsOf(memories, rates);
        expect(configurations).toHaveLength(memories.length * rates.length);
        const plan = planOf(configurations, repeat, seed, PARTS);
        const size = configurations.length * PARTS.length;
        expect(plan).toHaveLength(size * repeat);
        const everything = new Set(plan.slice(0, size).map(keyOf));
        expect(everything.size).toBe(size);
        for (let turn = 1; turn <= repeat; turn += 1) {
          const of = plan.slice((turn - 1) * size, turn * size);
          expect(of.every((run) => run.turn === turn)).toBe(true);
          expect(new Set(of.map(keyOf))).toEqual(everything);
          expect(new Set(of.map((run) => run.seed)).size).toBe(1);
          expect(of[0]?.seed).toBeLessThan(2 ** 32);
          // What is compared with each other is run one after the other.
          for (let at = 0; at < size; at += PARTS.length)
            expect(new Set(of.slice(at, at + PARTS.length).map(placeOf)).size).toBe(1);
        }
      }),
    );
  });

  it("lets every configuration be the first once there are turns enough", () => {
    const configurations = configurationsOf([128, 1024], [1, 2]);
    const plan = planOf(configurations, 4, 0, PARTS);
    const firsts = [1, 2, 3, 4].flatMap((turn) => plan.find((run) => run.turn === turn) ?? []);
    expect(new Set(firsts.map(placeOf)).size).toBe(4);
  });
});

describe("the parts of a bench", () => {
  it("have stock do as the agents do: one pass of pre-copy, or none where QEMU itself migrates", () => {
    expect(partsOf(["migration"], "agent")).toEqual([
      { scenario: "no-fault", recovery: "stock", variant: "after-one-pass" },
      { scenario: "no-fault", recovery: "txsync" },
    ]);
    expect(partsOf(["migration"], "qemu")[0]).toEqual({ scenario: "no-fault", recovery: "stock" });
  });

  it("are those of the topics that were asked for", () =>
    expect(partsOf(["protected"], "agent").map(({ variant }) => variant)).toEqual([
      "every-25-ms",
      "every-100-ms",
      "every-500-ms",
    ]));
});

describe("the estimate of what is left", () => {
  const plan = planOf(configurationsOf([128, 4096], [1_000]), 2, 1, PARTS);

  it("is nothing when nothing is left, and less with every run", () => {
    const estimate = new Estimate();
    let before = Number.POSITIVE_INFINITY;
    for (const [index, run] of plan.entries()) {
      estimate.ran(run, 5_000);
      const left = estimate.left_ms(plan.slice(index + 1));
      expect(left).toBeLessThan(before);
      before = left;
    }
    expect(before).toBe(0);
  });

  it("is by what the same runs took, once they have been seen", () => {
    const estimate = new Estimate();
    for (const run of plan.filter(({ turn }) => turn === 1)) estimate.ran(run, run.memory_mib);
    const rest = plan.filter(({ turn }) => turn === 2);
    expect(estimate.left_ms(rest)).toBe(rest.reduce((sum, { memory_mib }) => sum + memory_mib, 0));
  });

  it.each([
    [0, "0 s"],
    [42_400, "42 s"],
    [720_000, "12 min"],
    [11_100_000, "3 h 05 min"],
  ])("%d ms are %s", (ms, text) => expect(roughly(ms)).toBe(text));
});

it("a machine is quiet by its load for each processor", () => {
  expect(isQuiet(0.4, 2)).toBe(true);
  expect(isQuiet(0.6, 2)).toBe(false);
  expect(isQuiet(0.6, 16)).toBe(true);
});
