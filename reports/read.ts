import { open, readdir, stat } from "node:fs/promises";
import { basename, join, relative, resolve, sep } from "node:path";
import { messageOf, UserError } from "../harness/base/errors.ts";
import { readJson, readText } from "../harness/base/read-text.ts";
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
  /** True when run.json was missing or unreadable and the record was made from the timeline alone: nobody knows its verdict. */
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
  /** Folders of runs whose run.json could not be read, relative to the suite's. */
  readonly unread: readonly string[];
  readonly problems: readonly string[];
}

/**
 * Why nobody can believe what the record of a run says (its files contradict each other, or its verdict does not follow from
 * them), one sentence each. Reports cannot judge: who can says it to them.
 */
export type Doubts = (folder: string, record: RunRecord) => Promise<readonly string[]>;

const NO_DOUBTS: Doubts = async () => [];

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
  if (await isRunFolder(folder)) return "run";
  if ((await runFoldersIn(folder)).length > 0) return "runs";
  throw new UserError(
    `${folder} is no run and no suite: it has no run.json, timeline.ndjson or suite.json, and no folder in it has`,
  );
}

/**
 * Reads one run folder, whatever of it is there. A torn or unknown line of the timeline is kept as `unread`; whatever could
 * not be read is named in `problems`. A run whose record cannot be read, or is doubted, is `unknown` and never as expected.
 * @throws UserError when there is no such folder
 */
export async function readRun(folder: string, doubts: Doubts = NO_DOUBTS): Promise<ReadRun> {
  if (!(await isFolder(folder))) throw new UserError(`no run folder ${folder}`);
  const timeline = await readTimeline(folder);
  const { logs, problems: of_logs } = await readLogs(folder);
  const { record, problem } = await recordOrSubstitute(folder, timeline.events);
  const doubted = problem === undefined ? await doubts(folder, record) : [];
  const of_timeline = timeline.problems.filter((one) => !doubted.some((doubt) => one.startsWith(doubt)));
  return {
    folder,
    record: believed(record, doubted),
    partial: problem !== undefined,
    events: withLogLines(timeline.events, logs),
    logs,
    problems: [...new Set([...(problem === undefined ? [] : [problem]), ...doubted, ...of_timeline, ...of_logs])],
  };
}

/** From a record that is doubted nothing follows: what it says stands beside it, and only there. */
function believed(record: RunRecord, doubts: readonly string[]): RunRecord {
  const [first] = doubts;
  if (first === undefined) return record;
  const why = `${first}; run.json says ${record.verdict}: ${record.why}`;
  return { ...record, verdict: "unknown", as_expected: false, why };
}

async function readTimeline(folder: string): Promise<{ events: readonly ReportEvent[]; problems: readonly string[] }> {
  const path = join(folder, "timeline.ndjson");
  let text: string;
  try {
    text = await readText(path);
  } catch (thrown) {
    return { events: [], problems: [`${messageOf(thrown)}: the report shows run.json alone`] };
  }
  if (text.trim() === "") return { events: [], problems: [`${path} is empty: the report shows run.json alone`] };
  return parseTimeline(text);
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
 * Reads a suite folder, or makes a suite of all runs that lie in a folder. Where its suite.json cannot be read it is made of
 * the runs that lie beside it, and that is a problem: nobody knows whether they are all.
 * @throws UserError when no run is there or named, or suite.json is newer than ours
 */
export async function readSuite(folder: string, doubts: Doubts = NO_DOUBTS): Promise<ReadSuite> {
  if (!(await isFolder(folder)))
    throw new UserError(`no folder ${folder}: name a suite's, such as reports/runs/latest`);
  const { named, problem } = await suiteRecordIn(folder);
  const problems: string[] = [...(problem === undefined ? [] : [problem]), ...(named?.missing ?? [])];
  const runFolders = named?.runs ?? (await runFoldersIn(folder));
  if (runFolders.length === 0) {
    const none = (await isRunFolder(folder))
      ? `${folder} is one run's: name the folder in which it lies`
      : `no run is in ${folder}`;
    throw new UserError([none, ...problems].join("; "));
  }
  const runs: SuiteRun[] = [];
  const unread: string[] = [];
  for (const run of runFolders) {
    // As it was named: an absolute path is nothing that a person wants to read.
    const runFolder = join(folder, run);
    const path = linkTo(folder, runFolder);
    try {
      const record = await readRunRecord(runFolder);
      const doubted = await doubts(runFolder, record);
      runs.push({ path, record: believed(record, doubted) });
      problems.push(...doubted);
    } catch (thrown) {
      unread.push(path);
      problems.push(`a run cannot be read: ${messageOf(thrown)}`);
    }
  }
  const oldest = runs.map((run) => run.record.started_at).sort()[0];
  const suite = named ?? { version: SUITE_VERSION, started_at: oldest ?? "", command: "", runs: runFolders };
  return { folder, suite, runs, unread, problems };
}

async function suiteRecordIn(folder: string): Promise<{ named?: SuiteRecord; problem?: string }> {
  const path = join(folder, "suite.json");
  if (!(await exists(path))) return {};
  try {
    const data = await readJson(path);
    return { named: parseSuiteRecord(data, path) };
  } catch (thrown) {
    if (thrown instanceof NewerError) throw thrown;
    return { problem: `${messageOf(thrown)}: nobody knows whether the runs that lie beside it are all` };
  }
}

/** Path from a folder to another, with forward slashes, for a link. */
export function linkTo(from: string, to: string): string {
  return relative(resolve(from), resolve(to)).split(sep).join("/");
}

/** Names of the folders in `folder` that are runs, in order. */
export async function runFoldersIn(folder: string): Promise<string[]> {
  const found: string[] = [];
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    if (!entry.isDirectory()) continue;
    if (await isRunFolder(join(folder, entry.name))) found.push(entry.name);
  }
  return found.sort();
}

async function isRunFolder(folder: string): Promise<boolean> {
  return (await exists(join(folder, "run.json"))) || (await exists(join(folder, "timeline.ndjson")));
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
    const from = events.length === 0 ? "nothing is known of the run" : "the report is made from the timeline alone";
    return { record: recordFromTimeline(basename(resolve(folder)), events), problem: `${messageOf(thrown)}: ${from}` };
  }
}

/**
 * What the timeline alone says of a run whose run.json was never written (the harness died before the end) or cannot be read.
 * A verdict it is none: that stands in run.json, and what it was judged by is sealed there.
 */
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
    verdict: "unknown",
    as_expected: false,
    why:
      finished === undefined
        ? "The timeline ends before a verdict: the harness did not finish."
        : `run.json cannot be read: that the run was ${finished.verdict}, as its timeline ends, nothing bears out.`,
    checks,
    timings: { total_ms: events.at(-1)?.at_ms ?? 0 },
    command: "",
    versions: {},
  };
}

async function readLogs(folder: string): Promise<{ logs: LogFile[]; problems: string[] }> {
  const logs: LogFile[] = [];
  const problems: string[] = [];
  const names = (await readdir(folder)).filter((name) => name.endsWith(".log")).sort();
  for (const name of names) {
    const path = join(folder, name);
    try {
      const found = await stat(path);
      if (!found.isFile()) {
        problems.push(
          `${path} is ${found.isDirectory() ? "a directory, where a file ought to be" : "no ordinary file"}`,
        );
        continue;
      }
      logs.push(await readLog(path, name));
    } catch (thrown) {
      problems.push(`${path} cannot be read: ${messageOf(thrown)}`);
    }
  }
  return { logs, problems };
}

async function readLog(path: string, name: string): Promise<LogFile> {
  await using file = await open(path, "r");
  const { size } = await file.stat();
  const from = Math.max(0, size - LOG_BYTES_MAX);
  const { buffer, bytesRead } = await file.read(Buffer.alloc(size - from), 0, size - from, from);
  return { name, text: buffer.toString("utf8", 0, bytesRead), size_bytes: size, cut: from > 0 };
}

/** What is of a later version nobody tells from here: not even that it is broken. */
class NewerError extends UserError {}

function refuseNewer(data: unknown, newest: number, name: string): void {
  const version = (data as { version?: unknown } | null)?.version;
  if (typeof version === "number" && version > newest) {
    throw new NewerError(`${name} is of version ${version}, this ferryman reads up to ${newest}: use a newer ferryman`);
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
