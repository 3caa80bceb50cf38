import type { Measure } from "../../harness/bench/measure.ts";
import { RECOVERIES } from "../../harness/bench/plan.ts";
import type { BenchResult, ConfigurationFigures } from "../../harness/bench/result.ts";
import type { Spread } from "../../harness/bench/spread.ts";
import { memoryName, PAUSE_PARTS, rateName } from "./rows.ts";

/** One line of a plot: a spread for each size of guest, by its place in `sizes`. */
export interface BenchSeries {
  readonly label: string;
  readonly points: readonly {
    readonly size: number;
    readonly median: number;
    readonly min: number;
    readonly max: number;
    readonly values: readonly number[];
  }[];
}

/** A figure over the size of the guest. */
export interface BenchPlot {
  readonly id: string;
  readonly title: string;
  readonly unit: "ms" | "ratio" | "share" | "MiB" | "steps";
  readonly series: readonly BenchSeries[];
}

/** The parts of a median pause, for a bar. */
export interface PauseBar {
  readonly label: string;
  readonly parts: readonly { readonly part: (typeof PAUSE_PARTS)[number]; readonly median_ms: number }[];
  readonly p50_ms: number;
}

/** What the page's script draws. */
export interface BenchData {
  readonly sizes: readonly string[];
  readonly plots: readonly BenchPlot[];
}

export function benchData(result: Pick<BenchResult, "figures">): BenchData {
  const sizes = [...new Set(result.figures.map(({ memory_mib }) => memory_mib))].sort((a, b) => a - b);
  const rates = Map.groupBy(result.figures, ({ write_rate_pages_per_s }) => write_rate_pages_per_s);
  const plot = (
    id: string,
    title: string,
    unit: BenchPlot["unit"],
    pick: (at: ConfigurationFigures) => Spread | undefined,
  ): BenchPlot => ({
    id,
    title,
    unit,
    series: [...rates]
      .map(
        ([rate, figures]): BenchSeries => ({
          label: rateName(rate),
          points: figures.flatMap((at) => {
            const spread = pick(at);
            if (spread === undefined) return [];
            const { median, min, max, values } = spread;
            return [{ size: sizes.indexOf(at.memory_mib), median, min, max, values }];
          }),
        }),
      )
      .filter(({ points }) => points.length > 0),
  });
  const recovery = ([measure, title, unit]: readonly [Measure, string, BenchPlot["unit"]]): BenchPlot[] =>
    RECOVERIES.map((scenario) =>
      plot(`${measure}-${scenario}`, `${title}: ${scenario}`, unit, (at) => at.recovery[scenario]?.spreads[measure]),
    );
  const protection = (measure: Measure) => (at: ConfigurationFigures) => at.txsync.spreads[measure];
  const plots = [
    ...recovery(["recover_ms", "Detection to running", "ms"]),
    ...recovery(["detect_ms", "Fault to detection", "ms"]),
    ...recovery(["lost_steps", "Work lost", "steps"]),
    plot("pause_p50_ms", "Pause per transaction, p50", "ms", protection("pause_p50_ms")),
    plot("pause_p99_ms", "Pause per transaction, p99", "ms", protection("pause_p99_ms")),
    plot("output_p99_ms", "Output held back, p99", "ms", protection("output_p99_ms")),
    plot("total", "Total migration time against stock", "ratio", ({ ratios }) => ratios.total),
    plot("wire_bytes", "Bytes on the wire against stock", "ratio", ({ ratios }) => ratios.wire_bytes),
    plot("steps_per_s", "Guest steps per second against stock", "ratio", ({ ratios }) => ratios.steps_per_s),
    plot("agents_cpu_share", "Processor time of the three agents", "share", protection("agents_cpu_share")),
    plot("agent_rss_max_mib", "Memory of the largest agent", "MiB", protection("agent_rss_max_mib")),
    plot("control_late_max_ms", "Lateness of the worst event loop, max", "ms", protection("control_late_max_ms")),
  ];
  return { sizes: sizes.map(memoryName), plots: plots.filter(({ series }) => series.length > 0) };
}

/** Median pauses and what they are made of, for every configuration that has some. */
export function pauseBars({ figures }: Pick<BenchResult, "figures">): readonly PauseBar[] {
  return figures.flatMap((at) => {
    const { spreads } = at.txsync;
    if (spreads.pause_p50_ms === undefined) return [];
    const parts = PAUSE_PARTS.flatMap((part) => {
      const median_ms = spreads[`${part}_p50_ms`]?.median;
      return median_ms === undefined ? [] : [{ part, median_ms }];
    });
    const label = `${memoryName(at.memory_mib)}, ${rateName(at.write_rate_pages_per_s)}`;
    return [{ label, parts, p50_ms: spreads.pause_p50_ms.median }];
  });
}
