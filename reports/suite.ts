import { mkdir, writeFile } from "node:fs/promises";
import { isAbsolute, join } from "node:path";
import { FERRYMAN } from "../harness/base/myself.ts";
import { linkTo } from "./read.ts";
import { SUITE_VERSION, type SuiteRecord } from "./schema.ts";

/** What a suite says of itself; the default is now and the command of this process. */
export interface SuiteAbout {
  readonly started_at?: string;
  readonly command?: string;
  /** What ought to be in it and is not. */
  readonly missing?: readonly string[];
}

/**
 * Writes `suite.json` into `folder`: the runs that belong together, in the order in which they began.
 * @param runs folders of runs, absolute or relative to `folder`.
 * @returns what was written.
 */
export async function writeSuite(
  folder: string,
  runs: readonly string[],
  about: SuiteAbout = {},
): Promise<SuiteRecord> {
  const suite: SuiteRecord = {
    version: SUITE_VERSION,
    started_at: about.started_at ?? new Date().toISOString(),
    command: about.command ?? `${FERRYMAN} ${process.argv.slice(2).join(" ")}`.trim(),
    ...(about.missing === undefined || about.missing.length === 0 ? {} : { missing: about.missing }),
    runs: runs.map((run) => (isAbsolute(run) ? linkTo(folder, run) : run)),
  };
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "suite.json"), `${JSON.stringify(suite, undefined, 2)}\n`);
  return suite;
}
