import { stat, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { compareSuites } from "./compare.ts";
import { writeRunReport } from "./html/run.ts";
import { writeSuiteReport } from "./html/suite.ts";
import { ndjsonOf } from "./json/ndjson.ts";
import { junitOf } from "./junit.ts";
import { appendStepSummary, markdownOf } from "./markdown.ts";
import { kindOfFolder, readRunRecord, readSuite, type SuiteRun } from "./read.ts";

/** What was written: the page to open, and all files. */
export interface Written {
  readonly index: string;
  readonly files: readonly string[];
}

/** Options of writing reports. */
export interface WriteOptions {
  /** An earlier suite to compare with. */
  readonly against?: string;
  /** Append the Markdown to GitHub's step summary where there is one. Default false: `report` only makes files again. */
  readonly stepSummary?: boolean;
  /** Write each run's own page anew. Default true; false writes only those that are missing. */
  readonly rewriteRuns?: boolean;
}

/**
 * Writes every report of a folder, from its timelines alone: `index.html`, `junit.xml`, `summary.md` and, for a suite,
 * `runs.ndjson` and the page of each run.
 * @throws UserError when the folder is no run, no suite and holds no runs.
 */
export async function writeReports(folder: string, options: WriteOptions = {}): Promise<Written> {
  const kind = await kindOfFolder(folder);
  if (kind === "run") {
    const index = await writeRunReport(folder);
    const record = await readRunRecord(folder).catch(() => undefined);
    if (record === undefined) return { index, files: [index] };
    return { index, files: [index, ...(await writeForMachines(folder, [{ path: ".", record }], options))] };
  }
  const suite = await readSuite(folder);
  for (const run of suite.runs) {
    const runFolder = resolve(folder, run.path);
    if (options.rewriteRuns !== false || !(await exists(join(runFolder, "index.html"))))
      await writeRunReport(runFolder);
  }
  const index = await writeSuiteReport(folder, options.against);
  return { index, files: [index, ...(await writeForMachines(folder, suite.runs, options, suite.problems))] };
}

async function writeForMachines(
  folder: string,
  runs: readonly SuiteRun[],
  options: WriteOptions,
  problems: readonly string[] = [],
): Promise<string[]> {
  const comparison =
    options.against === undefined ? undefined : compareSuites((await readSuite(options.against)).runs, runs);
  const markdown = markdownOf(runs, comparison, problems);
  const files: Readonly<Record<string, string>> = {
    "junit.xml": junitOf(runs, "ferryman", problems),
    "summary.md": markdown,
    "runs.ndjson": ndjsonOf(runs),
  };
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text);
  if (options.stepSummary === true) await appendStepSummary(markdown);
  return Object.keys(files).map((name) => join(folder, name));
}

function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
