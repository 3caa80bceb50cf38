import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { sampleRun } from "../samples/generate.ts";
import { isSample } from "./event.ts";
import { buildLanes } from "./lanes.ts";
import { buildPlots } from "./series.ts";
import { quantile } from "./stats.ts";
import { storyOf } from "./story.ts";
import { wrongPagesOf } from "./wrong-pages.ts";

describe("lanes", () => {
  it("hold every event but the samples", () => {
    fc.assert(
      fc.property(
        fc.record({ seed: fc.nat(1_000), recovery: fc.constantFrom("stock" as const, "txsync" as const) }),
        (options) => {
          const { events } = sampleRun(options);
          const placed = new Set(buildLanes(events).flatMap((lane) => lane.events));
          const missing = events.filter((event, index) => !isSample(event) && !placed.has(index));
          expect(missing).toEqual([]);
        },
      ),
      { numRuns: 20 },
    );
  });

  it("show a fault from injection to healing, and one that never heals as open", () => {
    const events = [
      { at_ms: 10, lane: "fault", kind: "fault.injected", fault: "cut-link", id: "a", what: "" },
      { at_ms: 20, lane: "fault", kind: "fault.injected", fault: "kill", id: "b", what: "" },
      { at_ms: 60, lane: "fault", kind: "fault.healed", fault: "cut-link", id: "a" },
      { at_ms: 90, lane: "run", kind: "run.note", text: "" },
    ] as const;
    const lane = buildLanes(events).find((found) => found.id === "fault");
    expect(lane?.bars.map((bar) => [bar.from_ms, bar.to_ms, bar.closed, bar.row])).toEqual([
      [10, 60, true, 0],
      [20, 90, false, 1],
    ]);
  });

  it("show one direction of a link cut and healed alone", () => {
    const state = { lane: "link:source-target", kind: "link.state", link: "source-target", detail: "" } as const;
    const lane = buildLanes([
      { ...state, at_ms: 1, direction: "forward", state: "silent" },
      { ...state, at_ms: 5, direction: "both", state: "up" },
    ]).find((found) => found.id === "link:source-target");
    expect(lane?.bars).toMatchObject([{ from_ms: 1, to_ms: 5, label: "silent forward", pattern: "hollow" }]);
  });
});

describe("story", () => {
  it("begins before the fault, counts from it and ends with the verdict", () => {
    const { events } = sampleRun();
    const story = storyOf(events);
    expect(story.find((line) => line.text.startsWith("fault injected"))?.since_fault_ms).toBe(0);
    expect(story.at(-1)?.text).toBe("verdict intact, as expected");
    expect(story.every((line, index) => line.at_ms >= (story[index - 1]?.at_ms ?? 0))).toBe(true);
  });

  it("tells a loop of pausing and recovering by its number", () => {
    const events = Array.from(
      { length: 40 },
      (_, at_ms) =>
        ({
          at_ms,
          lane: "migration",
          kind: "migration.step",
          step: at_ms % 2 === 0 ? "postcopy-paused" : "recovering",
        }) as const,
    );
    const story = storyOf(events);
    expect(story).toHaveLength(7);
    expect(story.at(-1)?.text).toBe("… 34 more changes of step like these, until 0.039 s");
  });

  it("stays short, and says what it left out", () => {
    const events = Array.from(
      { length: 500 },
      (_, at_ms) => ({ at_ms, lane: "source", kind: "vote.asked", generation: at_ms }) as const,
    );
    const story = storyOf(events);
    expect(story.length).toBeLessThan(50);
    expect(story.some((line) => line.text.includes("460 more"))).toBe(true);
  });
});

describe("plots and tables", () => {
  it("a guest that stood still breaks its line instead of sloping through the outage", () => {
    const at = (at_ms: number, step: number) =>
      ({ at_ms, lane: "source", kind: "guest.progress", host: "source", cpu: 0, step }) as const;
    const steps = buildPlots([at(0, 0), at(100, 100), at(2_000, 150), at(2_100, 250)]).find(
      (plot) => plot.id === "steps",
    );
    expect(steps?.series[0]?.points.map((point) => point.value)).toEqual([1_000, null, 1_000]);
  });

  it("quantiles lie within the values and grow with p", () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ noNaN: true, min: -1e9, max: 1e9 }), { minLength: 1 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (values, p) => {
          const low = quantile(values, 0) ?? Number.NaN;
          const some = quantile(values, p) ?? Number.NaN;
          const high = quantile(values, 1) ?? Number.NaN;
          expect(low).toBe(Math.min(...values));
          expect(high).toBe(Math.max(...values));
          expect(some >= low && some <= high).toBe(true);
        },
      ),
    );
    expect(quantile([], 0.5)).toBeUndefined();
  });

  it("wrong pages are read as the memory and still checks name them", () => {
    const failed = (check: string, evidence: Parameters<typeof wrongPagesOf>[0][number]["evidence"]) => ({
      check,
      verdict: false as const,
      summary: "",
      ...(evidence === undefined ? {} : { evidence }),
    });
    const pages = wrongPagesOf([
      failed("memory-model", {
        step: 9,
        wrong_pages: [{ page: 3, address: 4_206_592, expected: "step 9", found: "step 8" }],
      }),
      failed("still-audit", {
        blocks: [{ block: "ram0", pages: 2, differing: 1 }],
        differing: [{ block: "pc.bios", page: 1, source: "a", target: "b" }],
      }),
    ]);
    expect(pages.map((page) => [page.block, page.page, page.expected, page.found])).toEqual([
      ["", "3", "step 9", "step 8"],
      ["pc.bios", "1", "a", "b"],
    ]);
  });

  it("wrong pages are taken from the evidence of failing checks, and only from those", () => {
    const { record } = sampleRun({ outcome: "corrupt" });
    expect(wrongPagesOf(record.checks)).toHaveLength(12);
    expect(wrongPagesOf(record.checks)[0]).toMatchObject({
      block: "ram0",
      page: "4096",
      last_written_by: "transaction 1",
    });
    expect(wrongPagesOf(sampleRun().record.checks)).toEqual([]);
  });
});
