import { appendFile } from "node:fs/promises";
import { configurationTexts } from "../harness/base/configuration.ts";
import { expectedText, underText } from "../harness/base/run-record.ts";
import { type Comparison, tally } from "./compare.ts";
import { type Cell, matrixOf, sideBySideOf } from "./matrix.ts";
import { verdictWord } from "./model/describe.ts";
import { formatMs } from "./model/format.ts";
import type { SuiteRun } from "./read.ts";

/** GitHub cuts a step summary at 1 MiB; past this many rows the table ends with a line that says so. */
const ROWS_MAX = 500;

/**
 * A summary for people in GitHub's Markdown: what is missing of the suite, then what is not as expected, with the command
 * that runs it again, then the matrix, then all cases. Text from runs is escaped: it can be no table, link, tag or mention.
 * @param problems what is missing or could not be read, one sentence each: a suite that is not whole is no success
 */
export function markdownOf(
  runs: readonly SuiteRun[],
  comparison?: Comparison,
  problems: readonly string[] = [],
): string {
  const wrong = runs.filter((run) => !run.record.as_expected);
  const lines = [
    `## Ferryman: ${runs.length - wrong.length} of ${runs.length} runs as expected${wrong.length === 0 && problems.length === 0 ? " ✓" : ""}`,
    "",
    ...(problems.length === 0
      ? []
      : ["### ✗ Not whole", "", ...problems.slice(0, ROWS_MAX).map((one) => `- ${escaped(one)}`), ""]),
    ...wrong.slice(0, ROWS_MAX).flatMap(wrongLines),
    ...sideBySideLines(runs),
    ...matrixLines(runs),
    ...comparisonLines(comparison),
    ...runLines(runs),
  ];
  return `${lines.join("\n")}\n`;
}

/**
 * Appends to the file that GitHub Actions names in GITHUB_STEP_SUMMARY; does nothing where it is not set.
 * @returns whether it wrote.
 */
export async function appendStepSummary(markdown: string, env: NodeJS.ProcessEnv = process.env): Promise<boolean> {
  const path = env["GITHUB_STEP_SUMMARY"];
  if (path === undefined || path === "") return false;
  await appendFile(path, `${markdown}\n`);
  return true;
}

function wrongLines(run: SuiteRun): string[] {
  const { record } = run;
  const failing = record.checks.filter((check) => check.verdict !== true);
  return [
    `### ✗ ${escaped(record.scenario)} (${underText(record)}, ${record.accel}, QEMU ${escaped(record.qemu_version)}): ${record.verdict}, expected ${expectedText(record)}`,
    "",
    escaped(record.error ?? record.why),
    "",
    ...failing.map((check) => `- ${escaped(check.check)} ${verdictWord(check.verdict)}: ${escaped(check.summary)}`),
    `- run it again: ${code(record.command)}`,
    "",
  ];
}

function cellText(cell: Cell | undefined): string {
  return cell === undefined ? "" : `${cell.as_expected ? "✓" : "✗"} ${tally(cell.runs)}`;
}

function sideBySideLines(runs: readonly SuiteRun[]): string[] {
  const table = sideBySideOf(runs);
  if (table === undefined) return [];
  return [
    "### Side by side",
    "",
    `| scenario | ${table.columns.map(escaped).join(" | ")} |`,
    `| --- | ${table.columns.map(() => "---").join(" | ")} |`,
    ...table.rows.map(
      ({ scenario, cells }) =>
        `| ${escaped(scenario)} | ${table.columns.map((column) => cellText(cells.get(column))).join(" | ")} |`,
    ),
    "",
  ];
}

function matrixLines(runs: readonly SuiteRun[]): string[] {
  const matrix = matrixOf(runs);
  const columns = matrix.steps.flatMap((step) => matrix.unders.map((under) => ({ step, under })));
  const head = columns.map(({ step, under }) => `${escaped(step === "" ? "whole run" : step)}<br>${under}`);
  return [
    "### What broke, when, and what came of it",
    "",
    `| fault | ${head.join(" | ")} |`,
    `| --- | ${columns.map(() => "---").join(" | ")} |`,
    ...matrix.rows.map((row) => {
      const cells = columns.map(({ step, under }) => cellText(row.cells.get(step)?.get(under)));
      return `| ${escaped(row.fault)} | ${cells.join(" | ")} |`;
    }),
    "",
  ];
}

function comparisonLines(comparison: Comparison | undefined): string[] {
  if (comparison === undefined) return [];
  return [
    "### Against the earlier suite",
    "",
    `${comparison.cases.length} cases changed, ${comparison.unchanged} did not.`,
    "",
    ...(comparison.cases.length === 0 ? [] : ["| case | before | now | |", "| --- | --- | --- | --- |"]),
    ...comparison.cases.map(
      (change) => `| ${escaped(change.name)} | ${change.before} | ${change.after} | ${change.kind} |`,
    ),
    ...(comparison.times.length === 0 ? [] : ["", "| median | case | before | now |", "| --- | --- | --- | --- |"]),
    ...comparison.times.map(
      (change) =>
        `| ${change.measure} | ${escaped(change.name)} | ${formatMs(change.before_ms)} | ${formatMs(change.after_ms)} |`,
    ),
    "",
  ];
}

function runLines(runs: readonly SuiteRun[]): string[] {
  const time = (value: number | undefined): string => (value === undefined ? "" : formatMs(value));
  return [
    "<details><summary>All runs</summary>",
    "",
    "| | scenario | recovery | manager | accel | QEMU | seed | verdict | detect | recover | downtime | pause p50 | p99 | agent late | agent memory | total |",
    `|${" --- |".repeat(16)}`,
    ...runs.slice(0, ROWS_MAX).map(({ record }) => {
      const { timings } = record;
      const cells = [
        record.as_expected ? "✓" : "✗",
        escaped(record.scenario),
        record.recovery,
        record.manager ?? "",
        record.accel,
        escaped([record.qemu_version, ...configurationTexts(record.configuration ?? {})].join(", ")),
        String(record.seed),
        `${record.verdict}${(record.tries ?? 1) > 1 ? ` (asked ${record.tries} times)` : ""}`,
        time(timings.detect_ms),
        time(timings.recover_ms),
        time(timings.downtime_ms),
        time(timings.pause_p50_ms),
        time(timings.pause_p99_ms),
        time(timings.control_late_max_ms),
        timings.agent_rss_max_mib === undefined ? "" : `${Math.round(timings.agent_rss_max_mib)} MiB`,
        time(timings.total_ms),
      ];
      return `| ${cells.join(" | ")} |`;
    }),
    ...(runs.length > ROWS_MAX ? ["", `… and ${runs.length - ROWS_MAX} more.`] : []),
    "",
    "</details>",
  ];
}

/** Plain text within Markdown: one line, every character that could mean something to Markdown or HTML made harmless. */
export function escaped(text: string): string {
  return text
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replace(/[\\`*_{}[\]()#|~@$]/g, (character) => `&#${character.charCodeAt(0)};`)
    .replaceAll("://", "&#58;//")
    .replace(/\s+/g, " ")
    .trim();
}

/** Inline code around any text: the fence is longer than any run of backticks in it. */
function code(text: string): string {
  const flat = text.replace(/\s+/g, " ").trim();
  const longest = Math.max(0, ...[...flat.matchAll(/`+/g)].map(([run]) => run.length));
  const fence = "`".repeat(longest + 1);
  return longest === 0 ? `${fence}${flat}${fence}` : `${fence} ${flat} ${fence}`;
}
