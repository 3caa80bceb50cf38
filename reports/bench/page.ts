import type { BenchResult } from "../../harness/bench/result.ts";
import { renderPage } from "../html/page.ts";
import { benchData, type PauseBar, pauseBars } from "./plots.ts";
import { aboutLines, memoryName, PART_NAMES, rateName, shortNumber, tablesOf } from "./rows.ts";

/** The bench as one HTML file with plots, self-contained as all reports are. */
export async function renderBench(result: BenchResult): Promise<string> {
  const data = benchData(result);
  return renderPage({
    title: `Ferryman bench: ${result.samples.length} runs`,
    template: "bench",
    view: viewOf(result),
    client: "bench",
    data: { "bench-data": data },
  });
}

function viewOf(result: BenchResult): object {
  const bars = pauseBars(result);
  const longest_ms = Math.max(...bars.map(({ parts, p50_ms }) => Math.max(sumOf(parts), p50_ms)), 0.001);
  return {
    started: result.started_at,
    title: `${result.samples.length} runs, QEMU ${result.qemu_version}, ${result.accel}`,
    about: aboutLines(result),
    notes: result.notes,
    tables: tablesOf(result),
    plots: benchData(result).plots.map(({ id, title, unit }) => ({ id, title, unit: UNITS[unit] })),
    legend: Object.entries(PART_NAMES).map(([part, name]) => ({ part: classOf(part), name })),
    bars: bars.map(({ label, parts, p50_ms }) => ({
      label,
      text: `${shortNumber(p50_ms)} ms`,
      title: parts.map(({ part, median_ms }) => `${PART_NAMES[part]} ${shortNumber(median_ms)} ms`).join(", "),
      parts: parts.map(({ part, median_ms }) => ({
        part: classOf(part),
        width: ((median_ms / longest_ms) * 100).toFixed(2),
      })),
    })),
    runs: result.samples.map((sample) => ({
      link: `${sample.run.split("/").map(encodeURIComponent).join("/")}/index.html`,
      turn: sample.turn,
      scenario: sample.scenario,
      recovery: sample.recovery,
      memory: memoryName(sample.memory_mib),
      rate: rateName(sample.write_rate_pages_per_s),
      verdict: sample.verdict,
      as_expected: sample.as_expected,
      why: sample.as_expected ? "" : sample.why,
      seed: sample.seed,
      took: `${shortNumber(sample.took_ms / 1000)} s`,
      load: sample.load_before.toFixed(2),
    })),
    command: result.command,
    versions: Object.entries(result.versions)
      .map(([name, version]) => `${name} ${version}`)
      .join(", "),
  };
}

const UNITS = { ms: "ms", ratio: "stock = 1", share: "1 = one processor", MiB: "MiB", steps: "steps" } as const;

function classOf(part: string): string {
  return part.replace("_", "-");
}

function sumOf(parts: PauseBar["parts"]): number {
  return parts.reduce((sum, { median_ms }) => sum + median_ms, 0);
}
