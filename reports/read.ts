import { open, readdir, readFile, stat } from "node:fs/promises";
import { basename, join, relative, resolve, sep } from "node:path";
import { messageOf, UserError } from "../harness/base/errors.ts";
import type { RunRecord } from "../harness/base/run-record.ts";
import { RUN_RECORD_VERSION } from "../harness/base/run-record.ts";
import { HOST_ROLES, type TimelineEvent } from "../harness/base/timeline.ts";
import type { ReportEvent } from "./model/event.ts";
import { runRecordSchema, SUITE_VERSION, type SuiteRecord, suiteRecordSchema, timelineEventSchema } from "./schema.ts";

/** A log file of a run; `text` is its end when it was too long to carry along. */
export interface LogFile {
  readonly name: string;
  readonly text: string;
  readonly size_bytes: number;
  readonly cut: boolean;
}

/** A run as the reports see it. */
export interface ReadRun {
  readonly folder: string;
  readonly record: RunRecord;
  /** True when run.json was missing or unreadable and the record was made from the timeline alone. */
  readonly partial: boolean;
  readonly events: readonly ReportEvent[];
  readonly logs: readonly LogFile[];
  /** What could not be read, one sentence each: the report shows them. */
  readonly problems: readonly string[];
}

/** A run of a suite: its record without its timeline. */
export interface SuiteRun {
  /** Relative to the suite's folder, with forward slashes: fit for a link. */
  readonly path: string;
  readonly record: RunRecord;
}

export interface ReadSuite {
  readonly folder: string;
  readonly suite: SuiteRecord;
  readonly runs: readonly SuiteRun[];
  readonly problems: readonly string[];
}

/** The end of a log that a report carries in itself; the file beside it holds all. */
const LOG_BYTES_MAX = 256 * 1024;
const PROBLEMS_MAX = 20;

export type FolderKind = "run" | "suite" | "runs";

/**
 * What a folder is: one run, a suite with its suite.json, or a folder with runs in it.
 * @throws UserError when it is none of these.
 */
export async function kindOfFolder(folder: string): Promise<FolderKind> {
  if (!(await isFolder(folder)))
    throw new UserError(`no folder ${folder}: name a run's or a suite's folder, such as reports/runs/<run>`);
  if (await exists(join(folder, "suite.json"))) return "suite";
  if ((await exists(join(folder, "run.json"))) || (await exists(join(folder, "timeline.ndjson")))) return "run";
  if ((await runFoldersIn(folder)).length > 0) return "runs";
  throw new UserError(
    `${folder} is no run and no suite: it has no run.json, timeline.ndjson or suite.json, and no folder in it has`,
  );
}

/**
 * Reads one run folder whole. A torn or unknown line of the timeline is kept as `unread` and named in `problems`.
 * @throws UserError when there is neither a readable run.json nor a timeline, or its version is newer than ours.
 */
export async function readRun(folder: string): Promise<ReadRun> {
  if (!(await isFolder(folder))) throw new UserError(`no run folder ${folder}`);
  const timelinePath = join(folder, "timeline.ndjson");
  const problems: string[] = [];
  let events: readonly ReportEvent[] = [];
  if (await exists(timelinePath)) {
    const parsed = parseTimeline(await readFile(timelinePath, "utf8"));
    events = parsed.events;
    problems.push(...parsed.problems);
  } else problems.push("timeline.ndjson is missing: the report shows run.json alone");
  const logs = await readLogs(folder);
  const { record, problem } = await recordOrSubstitute(folder, events);
  if (problem !== undefined) problems.push(problem);
  return { folder, record, partial: problem !== undefined, events: withLogLines(events, logs), logs, problems };
}

/**
 * Reads the record of a run.
 * @throws UserError naming the file and what is wrong with it.
 */
export async function readRunRecord(folder: string): Promise<RunRecord> {
  const path = join(folder, "run.json");
  return parseRunRecord(await readJson(path), path);
}

/** Checks a parsed run.json. `name` is for the error. @throws UserError when it is not what the schema says. */
export function parseRunRecord(data: unknown, name: string): RunRecord {
  refuseNewer(data, RUN_RECORD_VERSION, name);
  const parsed = runRecordSchema.safeParse(data);
  if (!parsed.success)
    throw new UserError(`${name} is not a run record of version ${RUN_RECORD_VERSION}: ${firstIssue(parsed.error)}`);
  return parsed.data;
}

/** Checks a parsed suite.json. @throws UserError when it is not what the schema says. */
export function parseSuiteRecord(data: unknown, name: string): SuiteRecord {
  refuseNewer(data, SUITE_VERSION, name);
  const parsed = suiteRecordSchema.safeParse(data);
  if (!parsed.success)
    throw new UserError(`${name} is not a suite record of version ${SUITE_VERSION}: ${firstIssue(parsed.error)}`);
  return parsed.data;
}

/**
 * Events of a timeline, in order of time. Never throws: a line that is torn, unknown or malformed becomes an
 * `unread` event at the time it names, or that of the line before it.
 */
export function parseTimeline(text: string): { events: ReportEvent[]; problems: string[] } {
  const events: ReportEvent[] = [];
  const problems: string[] = [];
  let unreadable = 0;
  let last_ms = 0;
  let number = 0;
  let sorted = true;
  for (const line of text.split("\n")) {
    number += 1;
    if (line.trim() === "") continue;
    const event = parseEvent(line, last_ms);
    if (event.kind === "unread") {
      unreadable += 1;
      if (problems.length < PROBLEMS_MAX)
        problems.push(
          `timeline.ndjson line ${number} ${event.claimed === "" ? "is not an event" : `has an event ${event.claimed} that this version does not know`}`,
        );
    }
    if (event.at_ms < last_ms) sorted = false;
    last_ms = Math.max(last_ms, event.at_ms);
    events.push(event);
  }
  if (unreadable > PROBLEMS_MAX)
    problems.push(`… and ${unreadable - PROBLEMS_MAX} more lines of timeline.ndjson that could not be read`);
  // Several writers may hand in their events a little late: time decides, and lines of the same time keep their order.
  if (!sorted) events.sort((a, b) => a.at_ms - b.at_ms);
  return { events, problems };
}

/**
 * The timeline with the lines of the log files in their places: those that begin with the time in milliseconds, as the
 * harness writes them, and that do not stand on the timeline already.
 */
export function withLogLines(events: readonly ReportEvent[], logs: readonly LogFile[]): ReportEvent[] {
  const known = new Set(
    events.flatMap((event) => (event.kind === "log" || event.kind === "guest.log" ? [event.line.trim()] : [])),
  );
  const lines = logs.flatMap(({ name, text }) => {
    const role = HOST_ROLES.find((host) => name.startsWith(`${host}-`));
    return text.split("\n").flatMap((line): ReportEvent[] => {
      const parts = /^(\d+(?:\.\d+)?) (.*)$/.exec(line);
      const said = parts?.[2]?.trim();
      if (said === undefined || known.has(said)) return [];
      return [{ kind: "file.line", at_ms: Number(parts?.[1]), lane: role ?? "run", file: name, line: said }];
    });
  });
  return lines.length === 0 ? [...events] : [...events, ...lines].sort((a, b) => a.at_ms - b.at_ms);
}

/**
 * Reads a suite folder, or makes a suite of all runs that lie in a folder.
 * @throws UserError when there is nothing to read.
 */
export async function readSuite(folder: string): Promise<ReadSuite> {
  const path = join(folder, "suite.json");
  const problems: string[] = [];
  const named = (await exists(path)) ? parseSuiteRecord(await readJson(path), path) : undefined;
  problems.push(...(named?.missing ?? []));
  const runFolders = named?.runs ?? (await runFoldersIn(folder));
  const runs: SuiteRun[] = [];
  for (const run of runFolders) {
    const runFolder = resolve(folder, run);
    try {
      runs.push({ path: linkTo(folder, runFolder), record: await readRunRecord(runFolder) });
    } catch (thrown) {
      problems.push(messageOf(thrown));
    }
  }
  const oldest = runs.map((run) => run.record.started_at).sort()[0];
  const suite = named ?? { version: SUITE_VERSION, started_at: oldest ?? "", command: "", runs: runFolders };
  if (runs.length === 0) throw new UserError([`no run of ${folder} could be read`, ...problems].join("; "));
  return { folder, suite, runs, problems };
}

/** Path from a folder to another, with forward slashes, for a link. */
export function linkTo(from: string, to: string): string {
  return relative(resolve(from), resolve(to)).split(sep).join("/");
}

/** Names of the folders in `folder` that are runs, in order. */
export async function runFoldersIn(folder: string): Promise<string[]> {
  const found: string[] = [];
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    if (entry.isDirectory() && (await exists(join(folder, entry.name, "run.json")))) found.push(entry.name);
  }
  return found.sort();
}

function parseEvent(line: string, last_ms: number): ReportEvent {
  let data: unknown;
  try {
    data = JSON.parse(line);
  } catch {
    return { kind: "unread", at_ms: last_ms, lane: "run", claimed: "", raw: line.slice(0, 2_000) };
  }
  // Fields of a later version stay: the object itself is kept, not what the schema made of it.
  if (timelineEventSchema.safeParse(data).success) return data as TimelineEvent;
  const loose = data as { kind?: unknown; at_ms?: unknown } | null;
  const claimed = typeof loose?.kind === "string" ? loose.kind : "";
  const at_ms = typeof loose?.at_ms === "number" ? loose.at_ms : last_ms;
  return { kind: "unread", at_ms, lane: "run", claimed, raw: line.slice(0, 2_000) };
}

async function recordOrSubstitute(
  folder: string,
  events: readonly ReportEvent[],
): Promise<{ record: RunRecord; problem?: string }> {
  try {
    return { record: await readRunRecord(folder) };
  } catch (thrown) {
    if (events.length === 0) throw thrown;
    return {
      record: recordFromTimeline(basename(resolve(folder)), events),
      problem: `${messageOf(thrown)}: the report is made from the timeline alone`,
    };
  }
}

/** What the timeline alone says of a run whose run.json was never written: the harness died before the end. */
function recordFromTimeline(id: string, events: readonly ReportEvent[]): RunRecord {
  const started = events.find((event) => event.kind === "run.started");
  const finished = events.find((event) => event.kind === "run.finished");
  const qemu = events.find((event) => event.kind === "qemu.started");
  const faults = events.flatMap((event) =>
    event.kind === "fault.injected" ? [{ fault: event.fault, on: event.what, at: `${event.at_ms.toFixed(0)} ms` }] : [],
  );
  const checks = events.flatMap((event) =>
    event.kind === "check.result" ? [{ check: event.check, verdict: event.verdict, summary: event.summary }] : [],
  );
  return {
    version: RUN_RECORD_VERSION,
    id,
    started_at: "",
    scenario: started?.scenario ?? id,
    title: started?.scenario ?? id,
    group: "",
    recovery: started?.recovery === "stock" ? "stock" : "txsync",
    accel: "tcg",
    accel_why: "",
    guest: "integrity",
    qemu: "",
    qemu_version: qemu?.version ?? "",
    seed: started?.seed ?? 0,
    memory_bytes: 0,
    faults,
    expected: "unknown",
    verdict: finished?.verdict ?? "unknown",
    as_expected: finished?.as_expected ?? false,
    why:
      finished === undefined
        ? "The timeline ends before a verdict: the harness did not finish."
        : "run.json is missing.",
    checks,
    timings: { total_ms: events.at(-1)?.at_ms ?? 0 },
    command: "",
    versions: {},
  };
}

async function readLogs(folder: string): Promise<LogFile[]> {
  const logs: LogFile[] = [];
  const names = (await readdir(folder)).filter((name) => name.endsWith(".log")).sort();
  for (const name of names) {
    await using file = await open(join(folder, name), "r");
    const { size } = await file.stat();
    const from = Math.max(0, size - LOG_BYTES_MAX);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(size - from), 0, size - from, from);
    logs.push({ name, text: buffer.toString("utf8", 0, bytesRead), size_bytes: size, cut: from > 0 });
  }
  return logs;
}

async function readJson(path: string): Promise<unknown> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (thrown) {
    throw new UserError(`cannot read ${path}: ${messageOf(thrown)}`);
  }
  try {
    return JSON.parse(text);
  } catch (thrown) {
    throw new UserError(`${path} is not JSON: ${messageOf(thrown)}`);
  }
}

function refuseNewer(data: unknown, newest: number, name: string): void {
  const version = (data as { version?: unknown } | null)?.version;
  if (typeof version === "number" && version > newest) {
    throw new UserError(`${name} is of version ${version}, this ferryman reads up to ${newest}: use a newer ferryman`);
  }
}

function firstIssue(error: { issues: readonly { path: readonly PropertyKey[]; message: string }[] }): string {
  const issue = error.issues[0];
  return issue === undefined ? "unreadable" : `${issue.path.map(String).join(".") || "the whole"}: ${issue.message}`;
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
}
