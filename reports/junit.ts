import { expectedText, type RunRecord, underText } from "../harness/base/run-record.ts";
import { verdictWord } from "./model/describe.ts";
import type { SuiteRun } from "./read.ts";

/**
 * JUnit XML of a suite, as Jenkins, GitLab and GitHub's actions read it: one `testsuite` per recovery (and manager), one
 * `testcase` per run. A run that is not as expected is a `failure`; one whose harness failed is an `error`; unknown never passes.
 * @param problems what is missing of the suite or could not be read: an `error` each, for who reads this sees nothing else
 */
export function junitOf(runs: readonly SuiteRun[], name = "ferryman", problems: readonly string[] = []): string {
  const suites = [...Map.groupBy(runs, (run) => underText(run.record))].map(([under, of]) =>
    suiteXml(`${name} ${under}`, of),
  );
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    `<testsuites name="${attribute(name)}" ${countsOf(runs, problems.length)}>`,
    ...suites,
    ...(problems.length === 0 ? [] : [missingXml(name, problems)]),
    "</testsuites>",
    "",
  ].join("\n");
}

function suiteXml(name: string, runs: readonly SuiteRun[]): string {
  const timestamp = runs.map((run) => run.record.started_at).sort()[0] ?? "";
  return [
    `  <testsuite name="${attribute(name)}" ${countsOf(runs)} skipped="0" timestamp="${attribute(timestamp.replace(/\.\d+Z?$/, ""))}">`,
    ...runs.map(caseXml),
    "  </testsuite>",
  ].join("\n");
}

function missingXml(name: string, problems: readonly string[]): string {
  const count = problems.length;
  return [
    `  <testsuite name="${attribute(`${name} whole`)}" tests="${count}" failures="0" errors="${count}" time="0.000" skipped="0">`,
    ...problems.flatMap((problem, index) => [
      `    <testcase classname="ferryman.whole" name="what is missing ${index + 1}" time="0.000">`,
      `      <error message="${attribute(problem)}" type="missing">${content(problem)}</error>`,
      "    </testcase>",
    ]),
    "  </testsuite>",
  ].join("\n");
}

/** @param missing errors of the suite itself */
function countsOf(runs: readonly SuiteRun[], missing = 0): string {
  const errors = runs.filter((run) => run.record.error !== undefined).length + missing;
  const failures = runs.filter((run) => run.record.error === undefined && !run.record.as_expected).length;
  const total_ms = runs.reduce((sum, run) => sum + run.record.timings.total_ms, 0);
  return `tests="${runs.length + missing}" failures="${failures}" errors="${errors}" time="${seconds(total_ms)}"`;
}

function caseXml(run: SuiteRun): string {
  const { record } = run;
  const name = `${record.scenario} [${underText(record)} ${record.accel} qemu ${record.qemu} seed ${record.seed}]`;
  const properties = {
    verdict: record.verdict,
    expected: expectedText(record),
    run: run.path,
    command: record.command,
  };
  return [
    `    <testcase classname="${attribute(`ferryman.${record.group}`)}" name="${attribute(name)}" time="${seconds(record.timings.total_ms)}">`,
    "      <properties>",
    ...Object.entries(properties).map(
      ([key, value]) => `        <property name="${key}" value="${attribute(value)}"/>`,
    ),
    "      </properties>",
    ...outcomeXml(record),
    `      <system-out>${content(checksText(record))}</system-out>`,
    "    </testcase>",
  ].join("\n");
}

function outcomeXml(record: RunRecord): string[] {
  if (record.error !== undefined) {
    return [
      `      <error message="${attribute(record.error.split("\n")[0] ?? "")}" type="harness">${content(record.error)}</error>`,
    ];
  }
  if (record.as_expected) return [];
  const message = `verdict ${record.verdict}, expected ${expectedText(record)}: ${record.why}`;
  const body = `${checksText(record)}\nrun it again: ${record.command}`;
  return [
    `      <failure message="${attribute(message)}" type="${attribute(record.verdict)}">${content(body)}</failure>`,
  ];
}

function checksText(record: RunRecord): string {
  return record.checks.map((check) => `${check.check}: ${verdictWord(check.verdict)}. ${check.summary}`).join("\n");
}

function seconds(ms: number): string {
  return (ms / 1_000).toFixed(3);
}

/** XML 1.0 knows no other characters below U+0020, no surrogate alone and no U+FFFE: they become U+FFFD. */
function legal(text: string): string {
  return text.toWellFormed().replace(/[^\t\n\r\u{20}-\u{d7ff}\u{e000}-\u{fffd}\u{10000}-\u{10ffff}]/gu, "\ufffd");
}

function content(text: string): string {
  return legal(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll("\r", "&#13;");
}

function attribute(text: string): string {
  return content(text).replaceAll('"', "&quot;").replaceAll("\n", "&#10;").replaceAll("\t", "&#9;");
}
