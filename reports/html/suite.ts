import { writeFile } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { configurationTexts } from "../../harness/base/configuration.ts";
import { expectedText, underText } from "../../harness/base/run-record.ts";
import type { Verdict } from "../../harness/base/timeline.ts";
import { type Comparison, compareSuites, TIME_MEASURES, type TimeMeasure, tally, valuesOf } from "../compare.ts";
import { type Cell, faultOf, type Matrix, matrixOf, type SideBySide, sideBySideOf, stepOf } from "../matrix.ts";
import { formatMs, plural } from "../model/format.ts";
import { spreadOf } from "../model/stats.ts";
import { linkTo, type ReadSuite, type SuiteRun } from "../read.ts";
import { renderPage } from "./page.ts";
import { verdictBadge } from "./verdict.ts";

const MEASURE_NAMES: Readonly<Record<TimeMeasure, string>> = {
  detect_ms: "Detection: from the fault until an agent knows",
  recover_ms: "Recovery: from detection until the guest runs",
  downtime_ms: "Downtime: the guest stood still",
  pause_p50_ms: "Guest pause per transaction, median of each run",
  pause_p99_ms: "Guest pause per transaction, 99th percentile of each run",
  control_late_p99_ms: "Lateness of the worst agent's event loop, 99th percentile of each run",
  total_ms: "Whole run",
};

/** The values of one measure, for the client's plot. */
export interface Distribution {
  readonly id: TimeMeasure;
  readonly series: readonly { readonly label: string; readonly values: readonly number[] }[];
}

/** What html/suite.ts puts into the page. */
export interface SuiteData {
  readonly distributions: readonly Distribution[];
}

/**
 * Writes `index.html` of a suite, or of a folder of runs, into its folder.
 * @param before an earlier suite, for what changed.
 * @returns the path of the file.
 */
export async function writeSuiteReport(suite: ReadSuite, before?: ReadSuite): Promise<string> {
  const path = join(suite.folder, "index.html");
  await writeFile(path, await renderSuite(suite, before));
  return path;
}

/** The report of a suite as one HTML file. */
export async function renderSuite(suite: ReadSuite, before?: ReadSuite): Promise<string> {
  const distributions = distributionsOf(suite.runs);
  const data: SuiteData = { distributions };
  return renderPage({
    title: titleOf(suite),
    template: "suite",
    view: viewOf(suite, distributions, before),
    client: "suite",
    data: { "suite-data": data },
  });
}

function viewOf(suite: ReadSuite, distributions: readonly Distribution[], before: ReadSuite | undefined): object {
  const { runs } = suite;
  const wrong = runs.filter((run) => !run.record.as_expected);
  // What is not whole has not passed, however well the rest of it came out.
  const passed = wrong.length === 0 && suite.problems.length === 0;
  return {
    title: titleOf(suite),
    tone: passed ? "good" : "bad",
    symbol: passed ? "✓" : "✕",
    word: passed ? "pass" : wrong.length === 0 ? "not whole" : "fail",
    command: suite.suite.command,
    started: suite.suite.started_at,
    counts: [...Map.groupBy(runs, (run) => underText(run.record))].map(([under, of]) => ({
      under,
      text: tally(of),
    })),
    problems: suite.problems,
    wrong: wrong
      .slice(0, 100)
      .map((run) => ({ ...rowOf(run), why: run.record.error ?? run.record.why, command: run.record.command })),
    side_by_side: sideBySideView(sideBySideOf(runs)),
    matrix: matrixView(matrixOf(runs)),
    comparison: before === undefined ? undefined : comparisonView(compareSuites(before.runs, runs), before, suite),
    distributions: distributions.map(({ id, series }) => ({
      id,
      name: MEASURE_NAMES[id],
      rows: series.flatMap(({ label, values }) => {
        const spread = spreadOf(values);
        return spread === undefined
          ? []
          : [[label, String(spread.count), ...[spread.min, spread.median, spread.p90, spread.max].map(formatMs)]];
      }),
    })),
    runs: runs.map(rowOf),
    footer: `${plural(runs.length, "run")} in ${basename(resolve(suite.folder))}${suite.suite.started_at === "" ? "" : `, started ${suite.suite.started_at}`}. Made from the runs' run.json by ferryman report.`,
  };
}

function titleOf({ runs, unread }: ReadSuite): string {
  const expected = runs.filter((run) => run.record.as_expected).length;
  return `${expected} of ${plural(runs.length + unread.length, "run")} as expected`;
}

function rowOf({ path, record }: SuiteRun): object {
  const { timings } = record;
  const time = (value: number | undefined): string => (value === undefined ? "" : formatMs(value));
  return {
    link: `${encodePath(path)}/index.html`,
    scenario: record.scenario,
    under: underText(record),
    accel: record.accel,
    guest: record.guest,
    qemu: [
      record.qemu_version === "" ? record.qemu : record.qemu_version,
      ...configurationTexts(record.configuration ?? {}),
    ].join(", "),
    seed: record.seed,
    fault: faultOf(record),
    step: stepOf(record),
    badge: verdictBadge(record.verdict),
    expected: expectedText(record),
    because: record.expected_why ?? "",
    as_expected: record.as_expected,
    detect: time(timings.detect_ms),
    recover: time(timings.recover_ms),
    downtime: time(timings.downtime_ms),
    lost: timings.lost_steps ?? "",
    pause: [timings.pause_p50_ms, timings.pause_p99_ms]
      .flatMap((ms) => (ms === undefined ? [] : [formatMs(ms)]))
      .join(" / "),
    late: time(timings.control_late_max_ms),
    tries: (record.tries ?? 1) > 1 ? ` asked ${record.tries} times` : "",
    total: time(timings.total_ms),
  };
}

function matrixView(matrix: Matrix): object {
  return {
    steps: matrix.steps.map((step) => (step === "" ? "no trigger" : step)),
    unders: matrix.unders,
    rows: matrix.rows.map((row) => ({
      fault: row.fault,
      cells: matrix.steps.flatMap((step) => matrix.unders.map((under) => cellView(row.cells.get(step)?.get(under)))),
    })),
  };
}

function sideBySideView(table: SideBySide | undefined): object | undefined {
  return (
    table && {
      columns: table.columns,
      rows: table.rows.map(({ scenario, cells }) => ({
        scenario,
        cells: table.columns.map((column) => cellView(cells.get(column))),
      })),
    }
  );
}

function cellView(cell: Cell | undefined): object | undefined {
  if (cell === undefined) return undefined;
  return {
    link: `${encodePath(cell.lead.path)}/index.html`,
    as_expected: cell.as_expected,
    scenarios: [...new Set(cell.runs.map((run) => run.record.scenario))].join(", "),
    badges: cell.verdicts.map(({ verdict, count }) => ({
      link: `${encodePath(leadOf(cell, verdict).path)}/index.html`,
      badge: verdictBadge(verdict),
      times: cell.runs.length === 1 ? "" : `${count}/${cell.runs.length}`,
    })),
  };
}

/** Of a cell's runs that came out so, the one to look at first. */
function leadOf({ runs, lead }: Cell, verdict: Verdict): SuiteRun {
  const same = runs.filter(({ record }) => record.verdict === verdict);
  return same.find(({ record }) => !record.as_expected) ?? same[0] ?? lead;
}

function comparisonView(comparison: Comparison, before: ReadSuite, suite: ReadSuite): object {
  const symbols = { worse: "✕", gone: "?", better: "✓", other: "△", new: "+" } as const;
  const tones = { worse: "bad", gone: "warn", better: "good", other: "warn", new: "info" } as const;
  return {
    earlier: linkTo(suite.folder, before.folder),
    unchanged: plural(comparison.unchanged, "case"),
    cases: comparison.cases.map((change) => ({
      ...change,
      link: change.link === undefined ? "" : `${encodePath(change.link)}/index.html`,
      symbol: symbols[change.kind],
      tone: tones[change.kind],
    })),
    times: comparison.times.map((change) => ({
      name: change.name,
      measure: change.measure.replace(/_ms$/, "").replaceAll("_", " "),
      before: formatMs(change.before_ms),
      after: formatMs(change.after_ms),
      word: change.after_ms > change.before_ms ? "▲ slower" : "▼ faster",
    })),
  };
}

function distributionsOf(runs: readonly SuiteRun[]): Distribution[] {
  return TIME_MEASURES.map((id): Distribution => {
    const series = [...Map.groupBy(runs, (run) => underText(run.record))]
      .sort(([a], [b]) => a.localeCompare(b))
      .map(([label, of]) => ({ label, values: valuesOf(of, id).sort((a, b) => a - b) }))
      .filter(({ values }) => values.length > 0);
    return { id, series };
  }).filter(({ series }) => series.length > 0);
}

function encodePath(path: string): string {
  return path.split("/").map(encodeURIComponent).join("/");
}
