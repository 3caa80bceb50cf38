import { writeSuite } from "../../reports/suite.ts";
import { writeReports } from "../../reports/write.ts";
import { messageOf } from "../base/errors.ts";
import type { TimelineEvent } from "../base/timeline.ts";
import { roughly } from "../bench/estimate.ts";
import { counting, type Done, doneOf, isOpen } from "../explore/campaign.ts";
import { Estimate } from "../explore/estimate.ts";
import type { Job } from "../explore/job.ts";
import { say } from "../run/prepare.ts";
import { makeProgress } from "../run/progress.ts";
import type { FinishedRun } from "../run/request.ts";
import type { Laboratory } from "./laboratory.ts";

export interface Watched {
  readonly onEvent?: (job: Job, event: TimelineEvent) => void;
  readonly onFinished?: (job: Job, run: FinishedRun) => void;
}

/** Runs what is open of a list of jobs, so many at a time; what proved nothing once more, at the end. */
export async function runJobs(
  laboratory: Laboratory,
  jobs: readonly Job[],
  before: readonly Done[],
  how: { readonly at_a_time: number; readonly quiet: boolean },
  { onEvent, onFinished }: Watched = {},
): Promise<void> {
  const estimate = new Estimate(how.at_a_time);
  const byKey = new Map(jobs.map((job) => [job.key, job]));
  const runs = Map.groupBy(before, ({ job }) => job);
  for (const { job, total_ms } of before) {
    const known = byKey.get(job);
    if (known !== undefined) estimate.ran(known, total_ms);
  }
  const open = jobs.filter(({ key }) => isOpen(runs.get(key) ?? []));
  const waiting = [...open];
  const under_way = new Set<Job>();
  if (before.length > 0) say(`${jobs.length - open.length} of ${jobs.length} are done already`);
  say(`${open.length} runs, ${how.at_a_time} at a time: about ${roughly(estimate.left_ms(open))}`);
  const progress = makeProgress(process.stderr, how.quiet);
  let made = 0;
  const worker = async (): Promise<void> => {
    for (let job = waiting.shift(); job !== undefined; job = waiting.shift()) {
      if (laboratory.signal.aborted) return;
      const mine = job;
      under_way.add(mine);
      const run = await laboratory.run(mine, (event) => {
        progress.onEvent(mine.key, event);
        onEvent?.(mine, event);
      });
      under_way.delete(mine);
      if (laboratory.signal.aborted) return;
      const { record, folder } = run;
      const found = runs.get(mine.key) ?? [];
      const done = { job: mine.key, folder, ...record, total_ms: record.timings.total_ms };
      runs.set(mine.key, [...found, done]);
      // On a busy machine a trigger may come too late: the last of all, when the others are done, it is tried again.
      if (isOpen(runs.get(mine.key) ?? [])) waiting.push(mine);
      estimate.ran(mine, record.timings.total_ms);
      made += 1;
      progress.onFinished(mine.key, record);
      onFinished?.(mine, run);
      const left = estimate.left_ms([...waiting, ...under_way]);
      if (!how.quiet && waiting.length > 0)
        say(`     ${made} made, ${waiting.length + under_way.size} to go, about ${roughly(left)} left`);
    }
  };
  await Promise.all(Array.from({ length: Math.min(how.at_a_time, Math.max(1, open.length)) }, worker));
  progress.close();
}

/** The suite of a campaign as far as it is done: of each job the run that counts. */
export async function writeCampaignSuite(
  folder: string,
  about: { readonly command: string; readonly started_at: string; readonly missing?: readonly string[] },
): Promise<{ readonly done: readonly Done[]; readonly page?: string }> {
  const done = counting(await doneOf(folder));
  if (done.length === 0) return { done };
  try {
    await writeSuite(
      folder,
      done.map((run) => run.folder),
      about,
    );
    const { index } = await writeReports(folder, { rewriteRuns: false, stepSummary: true });
    return { done, page: index };
  } catch (error) {
    say(`the reports could not be written: ${messageOf(error)}`);
    return { done };
  }
}
