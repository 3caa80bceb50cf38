import { readdir, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { configurationTexts } from "../../harness/base/configuration.ts";
import { type CheckResult, expectedText, type RunRecord, underText } from "../../harness/base/run-record.ts";
import { verdictWord } from "../model/describe.ts";
import { formatAt, formatBytes, formatCount, formatMs, plural } from "../model/format.ts";
import { buildPlots } from "../model/series.ts";
import { sinceFault, storyOf } from "../model/story.ts";
import { wrongPagesOf } from "../model/wrong-pages.ts";
import { type Doubts, type ReadRun, readRun } from "../read.ts";
import { renderPage } from "./page.ts";
import { SYMBOLS, verdictBadge } from "./verdict.ts";

const WRONG_PAGES_MAX = 50;
const EVIDENCE_MAX = 20_000;

/**
 * Writes `index.html` of a run beside its `run.json`, from what lies in its folder.
 * @returns the path of the file, and the run as it was read.
 * @throws UserError when there is no such folder.
 */
export async function writeRunReport(runFolder: string, doubts?: Doubts): Promise<{ path: string; run: ReadRun }> {
  const path = join(runFolder, "index.html");
  const run = await readRun(runFolder, doubts);
  await writeFile(path, await renderRun(run));
  return { path, run };
}

/** The report of a run as one HTML file. */
export async function renderRun(run: ReadRun): Promise<string> {
  const { record } = run;
  return renderPage({
    title: `${record.verdict}: ${record.scenario} (${underText(record)})`,
    template: "run",
    view: await viewOf(run),
    client: "run",
    data: { "run-data": { events: run.events } },
  });
}

async function viewOf(run: ReadRun): Promise<object> {
  const { record, events, partial } = run;
  const failing = record.checks.filter((check) => check.verdict === false);
  const unknown = record.checks.filter((check) => check.verdict === "unknown");
  const passed = record.checks.filter((check) => check.verdict === true);
  const wrongPages = wrongPagesOf(record.checks);
  return {
    suiteLink: await suiteLinkOf(run.folder),
    title: record.title === record.scenario ? record.scenario : `${record.scenario}: ${record.title}`,
    verdict: verdictBadge(record.verdict),
    expectation: expectationOf(record, partial),
    why: record.why,
    chips: chipsOf(record, partial),
    error: record.error,
    problems: run.problems,
    checksTitle: titleOf(failing.length, unknown.length, passed.length),
    checks: [...failing, ...unknown].map(checkView),
    passed: passed.map(checkView),
    passedTitle: `${plural(passed.length, "check")} ${passed.length === 1 ? "holds" : "hold"}`,
    wrongPages: wrongPages.slice(0, WRONG_PAGES_MAX),
    wrongPagesMore:
      wrongPages.length > WRONG_PAGES_MAX ? `${wrongPages.length - WRONG_PAGES_MAX} more are named in run.json.` : "",
    command: record.command,
    story: storyOf(events).map((line) => ({
      ...line,
      at: formatAt(line.at_ms),
      since: sinceFault(line),
      symbol: SYMBOLS[line.tone],
    })),
    hasEvents: events.length > 0,
    hasPlots: buildPlots(events).length > 0,
    timings: timingRows(record),
    facts: factRows(record, partial),
    files: (await readdir(run.folder).catch(() => [])).filter((name) => name !== "index.html").sort(),
    logs: run.logs.map((log) => ({
      name: log.name,
      text: log.text,
      note: log.cut
        ? `its last ${formatBytes(Buffer.byteLength(log.text))} of ${formatBytes(log.size_bytes)}`
        : formatBytes(log.size_bytes),
    })),
    footer: `Run ${record.id}${record.started_at === "" ? "" : `, started ${record.started_at}`}. ${plural(events.length, "event")}. Made from run.json and timeline.ndjson by ferryman report.`,
  };
}

function expectationOf(record: RunRecord, partial: boolean): { tone: string; symbol: string; text: string } {
  const because = record.expected_why === undefined ? "" : ` That is so here because: ${record.expected_why}.`;
  const or = record.allowed ?? [];
  const now = or.length === 0 ? "" : ` (${expectedText(record)}: it is a race)`;
  if (record.as_expected) return { tone: "good", symbol: "✓", text: `As expected${now}.${because}` };
  if (partial) return { tone: "warn", symbol: "?", text: "What was expected is not known." };
  if (record.verdict === record.expected)
    return { tone: "bad", symbol: "✕", text: "The verdict is as expected, the run is not: see its checks." };
  return { tone: "bad", symbol: "✕", text: `Not as expected: ${expectedText(record)} was.${because}` };
}

function chipsOf(record: RunRecord, partial: boolean): { name: string; value: string }[] {
  const known = [
    { name: "recovery", value: record.recovery },
    ...(record.manager === undefined ? [] : [{ name: "manager", value: record.manager }]),
    { name: "seed", value: String(record.seed) },
  ];
  if (partial) return known;
  return [
    ...known,
    { name: "QEMU", value: record.qemu_version === "" ? record.qemu : record.qemu_version },
    { name: "accel", value: record.accel },
    { name: "guest", value: `${record.guest}, ${formatBytes(record.memory_bytes)}` },
    ...configurationTexts(record.configuration ?? {}).map((value) => ({ name: "configured", value })),
    { name: "fault", value: record.faults.length === 0 ? "none" : record.faults.map(faultText).join(", then ") },
    ...((record.tries ?? 1) > 1 ? [{ name: "asked to migrate", value: plural(record.tries ?? 1, "time") }] : []),
    { name: "took", value: formatMs(record.timings.total_ms) },
  ];
}

function faultText({ fault, on, at }: RunRecord["faults"][number]): string {
  return `${fault}${on === "" ? "" : ` on ${on}`}${at === "" ? "" : ` at ${at}`}`;
}

function titleOf(failing: number, unknown: number, passed: number): string {
  if (failing > 0) return `${plural(failing, "check")} ${failing === 1 ? "fails" : "fail"}`;
  if (unknown > 0) return `${plural(unknown, "check")} could not tell`;
  return passed > 0 ? "Every check holds" : "No check was made";
}

function checkView(check: CheckResult): object {
  const { verdict } = check;
  const evidence = check.evidence === undefined ? "" : JSON.stringify(check.evidence, undefined, 2);
  return {
    name: check.check,
    summary: check.summary,
    word: verdictWord(verdict),
    tone: verdict === true ? "good" : verdict === false ? "bad" : "warn",
    symbol: verdict === true ? "✓" : verdict === false ? "✕" : "?",
    evidence:
      evidence.length > EVIDENCE_MAX
        ? `${evidence.slice(0, EVIDENCE_MAX)}\n… cut here, run.json has all of it`
        : evidence,
  };
}

const TIMING_NAMES: Readonly<Record<string, string>> = {
  total_ms: "whole run",
  fleet_ms: "hosts started in",
  boot_ms: "guest booted in",
  migration_ms: "migration",
  check_ms: "checks",
  detect_ms: "fault to detection",
  recover_ms: "detection to guest running",
  downtime_ms: "guest stood still",
  stopped_max_ms: "guest stopped by QEMU's stamps, longest",
  unseen_max_ms: "nobody looked at the guest, longest",
  heard_late_max_ms: "the harness heard of a look late by, at worst",
  source_needed_ms: "source's host needed after switchover",
  pause_p50_ms: "pause per transaction, median",
  pause_p90_ms: "pause per transaction, 90th percentile",
  pause_p99_ms: "pause per transaction, 99th percentile",
  pause_max_ms: "pause per transaction, longest",
  stop_p50_ms: "of a pause: stop, median",
  device_p50_ms: "of a pause: device state, median",
  find_copy_p50_ms: "of a pause: finding and copying pages, median",
  cont_p50_ms: "of a pause: cont, median",
  control_late_p99_ms: "event loop of the worst agent late by, 99th percentile",
  control_late_max_ms: "event loop of the worst agent late by, at worst",
  agent_rss_max_mib: "memory of the largest agent, MiB",
};

function timingRows(record: RunRecord): [string, string][] {
  return Object.entries(record.timings).flatMap(([name, value]): [string, string][] => {
    if (typeof value !== "number") return [];
    return [
      [TIMING_NAMES[name] ?? name.replaceAll("_", " "), name.endsWith("_ms") ? formatMs(value) : formatCount(value)],
    ];
  });
}

function factRows(record: RunRecord, partial: boolean): [string, string][] {
  const rows: [string, string][] = [
    ["scenario", record.scenario],
    ["group", record.group],
    ["recovery", record.recovery],
    ...(record.manager === undefined ? [] : [["manager", record.manager] as [string, string]]),
    ["seed", String(record.seed)],
    ["expected", partial ? "not known" : expectedText(record)],
    ["verdict", record.verdict],
  ];
  if (partial) return rows;
  return [
    ...rows,
    ["accelerator", `${record.accel}${record.accel_why === "" ? "" : `: ${record.accel_why}`}`],
    ["guest", record.guest],
    ["memory", formatBytes(record.memory_bytes)],
    ...(record.configuration === undefined
      ? []
      : [["configured", configurationTexts(record.configuration).join(", ")] as [string, string]]),
    ...(record.patience_ms === undefined
      ? []
      : [["patience", `gives up once nothing has moved for ${formatMs(record.patience_ms)}`] as [string, string]]),
    ...(record.tries === undefined ? [] : [["migration asked for", plural(record.tries, "time")] as [string, string]]),
    ["QEMU asked for", record.qemu],
    ["QEMU answered", record.qemu_version],
    ...Object.entries(record.versions),
  ];
}

/** Link to the report of the suite that the run lies in or beside, where there is one. */
async function suiteLinkOf(folder: string): Promise<string> {
  for (const up of ["..", "../.."]) {
    const found = await stat(join(folder, up, "suite.json")).catch(() => undefined);
    if (found !== undefined && dirname(folder) !== folder) return `${up}/index.html`;
  }
  return "";
}
