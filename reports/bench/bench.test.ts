import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { makeBench, makeSample } from "../../harness/bench/make-sample.ts";
import { configurationsOf, partsOf, planOf, TOPICS } from "../../harness/bench/plan.ts";
import type { BenchResult } from "../../harness/bench/result.ts";
import { benchMarkdown } from "./markdown.ts";
import { benchData, pauseBars } from "./plots.ts";
import { memoryName, rateName, shortNumber, spreadCell, tablesOf } from "./rows.ts";
import { writeBench } from "./write.ts";

const configurations = configurationsOf([128, 1024], [1_000, 0]);

function bench(repeat = 5): BenchResult {
  const samples = planOf(configurations, repeat, 7, partsOf(TOPICS, "agent")).map((planned) =>
    makeSample(planned, {
      measures: {
        total_ms: 2_000 + planned.turn,
        wire_bytes: 150 * 1024 ** 2,
        detect_ms: 500,
        ...(planned.scenario === "source-host-killed" ? {} : { recover_ms: 20 + planned.turn }),
        pause_p50_ms: 4,
        pause_p99_ms: 12,
        stop_p50_ms: 0.5,
        device_p50_ms: 1.5,
        find_copy_p50_ms: 1,
      },
    }),
  );
  return makeBench(configurations, samples);
}

describe("tables of a bench", () => {
  it("have as many cells in every row as in the heading, whatever was measured", () => {
    for (const result of [bench(), makeBench(configurations, [])])
      for (const { heading, rows } of tablesOf(result))
        for (const row of rows) expect(row).toHaveLength(heading.length);
  });

  it("say the median and how far the runs lie apart, and – where there is nothing", () => {
    const [recovery] = tablesOf(bench());
    const row = recovery?.rows.find(([scenario]) => scenario === "target-host-killed");
    expect(row).toEqual([
      "target-host-killed",
      "128 MiB",
      "1,000 pages/s",
      "5 of 5",
      "500 (500 to 500)",
      "23 (21 to 25)",
      "–",
      "–",
    ]);
    expect(spreadCell(undefined)).toBe("–");
    expect(spreadCell({ count: 1, min: 3, median: 3, max: 3, values: [3] })).toBe("3");
  });

  it("show about three digits, never more than a hundredth off", () => {
    fc.assert(
      fc.property(fc.double({ min: 1, max: 1e9, noNaN: true }), (value) => {
        const shown = Number(shortNumber(value).replaceAll(",", ""));
        expect(Math.abs(shown - value) / value).toBeLessThan(0.01);
      }),
    );
    expect([memoryName(4096), rateName(0), rateName(20_000)]).toEqual(["4 GiB", "full speed", "20,000 pages/s"]);
  });
});

describe("writers of a bench", () => {
  it("Markdown has every table, and what comes from outside is no markup", () => {
    const hostile = "<img src=x>|`**now**";
    const text = benchMarkdown({ ...bench(), qemu_version: hostile, notes: [hostile] });
    for (const { title } of tablesOf(bench())) expect(text).toContain(`### ${title}`);
    expect(text).not.toContain("<img");
    expect(text).not.toContain("**now**");
    const tables = text.split("\n").filter((line) => line.startsWith("| "));
    expect(tables.length).toBeGreaterThan(20);
  });

  it("write JSON that is the result, Markdown, and a page without anything to fetch", async () => {
    const folder = await mkdtemp(join(tmpdir(), "ferryman-bench-"));
    try {
      const result = bench();
      const index = await writeBench(folder, { ...result, qemu_version: "</script><img src=x>" });
      expect(JSON.parse(await readFile(join(folder, "bench.json"), "utf8"))).toMatchObject({ samples: result.samples });
      expect(await readFile(join(folder, "bench.md"), "utf8")).toContain("### Against stock");
      const page = await readFile(index, "utf8");
      expect(page).toContain("Detection to running");
      expect(page).not.toContain("<img");
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
});

describe("plots of a bench", () => {
  it("have a line for each write rate, with a point for each size that has been measured", () => {
    const data = benchData(bench());
    expect(data.sizes).toEqual(["128 MiB", "1 GiB"]);
    const recovered = data.plots.find(({ id }) => id === "recover_ms-target-host-killed");
    expect(recovered?.series.map(({ label }) => label)).toEqual(["1,000 pages/s", "full speed"]);
    for (const { points } of recovered?.series ?? [])
      expect(points.map(({ size, median }) => [size, median])).toEqual([
        [0, 23],
        [1, 23],
      ]);
    expect(data.plots.map(({ id }) => id)).not.toContain("output_p99_ms");
    expect(data.plots.map(({ id }) => id)).not.toContain("recover_ms-source-host-killed");
  });

  it("have a bar for each configuration with the parts that are known", () => {
    const [bar] = pauseBars(bench());
    expect(bar).toMatchObject({ label: "128 MiB, 1,000 pages/s", p50_ms: 4 });
    expect(bar?.parts.map(({ part }) => part)).toEqual(["stop", "device", "find_copy"]);
    expect(benchData(makeBench(configurations, []))).toEqual({ sizes: ["128 MiB", "1 GiB"], plots: [] });
  });
});
