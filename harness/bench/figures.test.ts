import { describe, expect, it } from "vitest";
import { figuresOf, notesOf } from "./figures.ts";
import { makeSample } from "./make-sample.ts";
import { type Configuration, partsOf, planOf } from "./plan.ts";
import type { Sample } from "./result.ts";

const here: Configuration = { memory_mib: 128, write_rate_pages_per_s: 1_000 };
const plan = planOf([here], 5, 1, partsOf(["migration", "recovery"], "agent"));

function samples(change: (sample: Sample) => Partial<Sample>): readonly Sample[] {
  return plan.map((planned) => makeSample(planned, change(makeSample(planned))));
}

describe("figures of a bench", () => {
  it("compare runs of one turn, so that a machine that becomes slower changes no ratio", () => {
    const [figures] = figuresOf(
      [here],
      samples(({ turn, recovery }) => ({ measures: { total_ms: 100 * turn * (recovery === "txsync" ? 2 : 1) } })),
    );
    expect(figures?.ratios.total).toMatchObject({ count: 5, min: 2, median: 2, max: 2 });
    expect(figures?.stock.spreads.total_ms).toMatchObject({ min: 100, median: 300, max: 500 });
    expect(figures?.ratios).not.toHaveProperty("wire_bytes");
  });

  it("are made of runs that came out as expected, and the others are counted and named", () => {
    const all = samples(({ turn, scenario }) =>
      scenario === "target-host-killed"
        ? { as_expected: turn > 2, verdict: turn > 2 ? "intact" : "lost", measures: { recover_ms: turn } }
        : {},
    );
    const group = figuresOf([here], all)[0]?.recovery["target-host-killed"];
    expect(group).toMatchObject({ runs: 5, as_expected: 3 });
    expect(group?.spreads.recover_ms?.values).toEqual([3, 4, 5]);
    expect(notesOf(all, all.length).join(" ")).toContain(
      "2 of 25 runs did not come out as expected (target-host-killed txsync)",
    );
  });

  it("have percentiles over all pauses of all runs", () => {
    const pause = { stamped: true, stop_ms: 1, device_ms: 1, find_copy_ms: 1 };
    const all = samples(({ turn, scenario }) => ({
      pauses: scenario === "no-fault" ? [{ ...pause, still_ms: turn }] : [{ ...pause, still_ms: 99 }],
    }));
    const [figures] = figuresOf([here], all);
    expect(figures?.pooled).toMatchObject({ p50_ms: 3, max_ms: 5 });
  });

  it("are there, and empty, where nothing was measured", () => {
    const [figures] = figuresOf([here], []);
    expect(figures?.txsync).toEqual({ recovery: "txsync", runs: 0, as_expected: 0, spreads: {} });
    expect(figures).not.toHaveProperty("pooled");
  });
});

describe("notes of a bench", () => {
  it("are none where there is nothing to say", () =>
    expect(
      notesOf(
        samples(() => ({})),
        plan.length,
      ),
    ).toEqual([]));

  it("say that there are too few runs, that some are missing, and that pauses have no stamps", () => {
    const pauses = [{ still_ms: 9, stamped: false, stop_ms: 1, device_ms: 1, find_copy_ms: 1 }];
    const few = samples(() => ({ pauses })).filter(({ turn }) => turn <= 2);
    const text = notesOf(few, plan.length).join("\n");
    expect(text).toContain("2 runs of each: too few for figures");
    expect(text).toContain("Only 10 of 25 runs");
    expect(text).toContain("All pauses are as the agent saw them");
  });
});
