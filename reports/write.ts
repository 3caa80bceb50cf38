import { stat, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import type { RunRecord } from "../harness/base/run-record.ts";
import { type Comparison, compareSuites } from "./compare.ts";
import { writeRunReport } from "./html/run.ts";
import { writeSuiteReport } from "./html/suite.ts";
import { ndjsonOf } from "./json/ndjson.ts";
import { junitOf } from "./junit.ts";
import { appendStepSummary, markdownOf } from "./markdown.ts";
import { type Doubts, kindOfFolder, readSuite, type SuiteRun } from "./read.ts";

/** What was written: the page to open, and all files. */
export interface Written {
  readonly index: string;
  readonly files: readonly string[];
  /** What of it could not be read, is missing or is doubted, one sentence each. */
  readonly problems: readonly string[];
}

/** Options of writing reports. */
export interface WriteOptions {
  /** An earlier suite to compare with. */
  readonly against?: string;
  /** Append the Markdown to GitHub's step summary where there is one. Default false: `report` only makes files again. */
  readonly stepSummary?: boolean;
  /** Write each run's own page anew. Default true; false writes only those that are missing. */
  readonly rewriteRuns?: boolean;
  /** Whether a run's record can be believed. Default: it can, as of runs that were made just now. */
  readonly doubts?: Doubts;
}

/**
 * Writes every report of a folder, from what lies in it alone: `index.html`, `junit.xml`, `summary.md` and, for a suite,
 * `runs.ndjson` and the page of each run. What cannot be read is said in each of them, and in `problems`.
 * @throws UserError when the folder is no run, no suite and holds no runs.
 */
export async function writeReports(folder: string, options: WriteOptions = {}): Promise<Written> {
  const { rewriteRuns = true } = options;
  const doubts = options.doubts && once(options.doubts);
  const kind = await kindOfFolder(folder);
  const before = options.against === undefined ? undefined : await readSuite(options.against, doubts);
  const of_before = before?.problems.map((problem) => `the earlier suite: ${problem}`) ?? [];
  if (kind === "run") {
    const { path, run } = await writeRunReport(folder, doubts);
    const { record, partial } = run;
    const problems = [...run.problems, ...of_before];
    // Of what cannot be read nothing is known that a table could hold.
    const runs = partial ? [] : [{ path: ".", record }];
    const comparison = before && compareSuites(before.runs, runs);
    return {
      index: path,
      files: [path, ...(await writeForMachines(folder, runs, options, problems, comparison))],
      problems,
    };
  }
  const suite = await readSuite(folder, doubts);
  const problems = [...suite.problems, ...of_before];
  for (const { path, record } of suite.runs) {
    const runFolder = join(folder, path);
    const doubted = (await doubts?.(runFolder, record)) ?? [];
    if (!rewriteRuns && doubted.length === 0 && (await exists(join(runFolder, "index.html")))) continue;
    const { run } = await writeRunReport(runFolder, doubts);
    if (doubts !== undefined && doubted.length === 0) problems.push(...run.problems);
  }
  // An old page of what cannot be read any more says what nobody can say now.
  for (const path of suite.unread) if (await exists(join(folder, path))) await writeRunReport(join(folder, path));
  const index = await writeSuiteReport({ ...suite, problems }, before);
  const comparison = before && compareSuites(before.runs, suite.runs);
  return {
    index,
    files: [index, ...(await writeForMachines(folder, suite.runs, options, problems, comparison))],
    problems,
  };
}

async function writeForMachines(
  folder: string,
  runs: readonly SuiteRun[],
  { stepSummary }: WriteOptions,
  problems: readonly string[],
  comparison: Comparison | undefined,
): Promise<string[]> {
  const markdown = markdownOf(runs, comparison, problems);
  const files: Readonly<Record<string, string>> = {
    "junit.xml": junitOf(runs, "ferryman", problems),
    "summary.md": markdown,
    "runs.ndjson": ndjsonOf(runs),
  };
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text);
  if (stepSummary === true) await appendStepSummary(markdown);
  return Object.keys(files).map((name) => join(folder, name));
}

/** A run is judged once, however many pages it stands on. */
function once(doubts: Doubts): Doubts {
  const known = new Map<string, Promise<readonly string[]>>();
  return (folder: string, record: RunRecord) => {
    const key = resolve(folder);
    const said = known.get(key) ?? doubts(folder, record);
    known.set(key, said);
    return said;
  };
}

function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
