import { configurationTexts } from "../harness/base/configuration.ts";
import { type RunRecord, underText } from "../harness/base/run-record.ts";
import { quantile } from "./model/stats.ts";
import type { SuiteRun } from "./read.ts";

/** The same case (scenario, recovery, accel, QEMU, guest) in an earlier suite and in this one. */
export interface CaseChange {
  readonly name: string;
  readonly before: string;
  readonly after: string;
  /** Worse: more runs not as expected than before; better: fewer; else other. */
  readonly kind: "worse" | "better" | "other" | "new" | "gone";
  readonly link?: string;
}

export interface TimeChange {
  readonly name: string;
  readonly measure: TimeMeasure;
  readonly before_ms: number;
  readonly after_ms: number;
}

export const TIME_MEASURES = [
  "detect_ms",
  "recover_ms",
  "downtime_ms",
  "pause_p50_ms",
  "pause_p99_ms",
  "control_late_p99_ms",
  "total_ms",
] as const;
export type TimeMeasure = (typeof TIME_MEASURES)[number];

export interface Comparison {
  readonly cases: readonly CaseChange[];
  /** Medians that moved by more than a quarter and more than 5 ms. */
  readonly times: readonly TimeChange[];
  readonly unchanged: number;
}

const TIME_CHANGE_MIN = 0.25;
const TIME_CHANGE_MIN_MS = 5;

/** What changed from an earlier suite to a later one. */
export function compareSuites(before: readonly SuiteRun[], after: readonly SuiteRun[]): Comparison {
  const old = Map.groupBy(before, (run) => caseOf(run.record));
  const now = Map.groupBy(after, (run) => caseOf(run.record));
  const cases: CaseChange[] = [];
  const times: TimeChange[] = [];
  let unchanged = 0;
  for (const name of [...new Set([...old.keys(), ...now.keys()])].sort()) {
    const was = old.get(name) ?? [];
    const is = now.get(name) ?? [];
    const change = caseChange(name, was, is);
    if (change === undefined) unchanged += 1;
    else cases.push(change);
    times.push(...timeChanges(name, was, is));
  }
  const order = ["worse", "gone", "better", "other", "new"];
  cases.sort((a, b) => order.indexOf(a.kind) - order.indexOf(b.kind) || a.name.localeCompare(b.name));
  return { cases, times, unchanged };
}

/** What makes two runs runs of the same case; the seed does not count. */
export function caseOf(record: RunRecord): string {
  const { scenario, recovery, manager, accel, qemu, guest, configuration = {} } = record;
  // What a record says that is older than the choice of a manager.
  const under = manager === "qmp" ? recovery : underText({ recovery, ...(manager === undefined ? {} : { manager }) });
  return [scenario, under, accel, `qemu ${qemu}`, guest, ...configurationTexts(configuration)].join(" · ");
}

function caseChange(name: string, was: readonly SuiteRun[], is: readonly SuiteRun[]): CaseChange | undefined {
  const before = tally(was);
  const after = tally(is);
  const lead = (is.find((run) => !run.record.as_expected) ?? is[0])?.path;
  const link = lead === undefined ? {} : { link: lead };
  if (was.length === 0) return { name, before: "–", after, kind: "new", ...link };
  if (is.length === 0) return { name, before, after: "–", kind: "gone" };
  const share = (runs: readonly SuiteRun[]): number =>
    runs.filter((run) => !run.record.as_expected).length / runs.length;
  const verdicts = (runs: readonly SuiteRun[]): string =>
    [...new Set(runs.map((run) => run.record.verdict))].sort().join();
  if (share(was) === share(is) && verdicts(was) === verdicts(is)) return undefined;
  const kind = share(is) > share(was) ? "worse" : share(is) < share(was) ? "better" : "other";
  return { name, before, after, kind, ...link };
}

/** `20 intact`, or `19 intact, 1 lost`. */
export function tally(runs: readonly SuiteRun[]): string {
  return [...Map.groupBy(runs, (run) => run.record.verdict)]
    .sort(([, a], [, b]) => b.length - a.length)
    .map(([verdict, same]) => `${same.length} ${verdict}`)
    .join(", ");
}

function timeChanges(name: string, was: readonly SuiteRun[], is: readonly SuiteRun[]): TimeChange[] {
  return TIME_MEASURES.flatMap((measure) => {
    const before_ms = quantile(valuesOf(was, measure), 0.5);
    const after_ms = quantile(valuesOf(is, measure), 0.5);
    if (before_ms === undefined || after_ms === undefined) return [];
    const moved = Math.abs(after_ms - before_ms);
    if (moved < TIME_CHANGE_MIN_MS || moved < before_ms * TIME_CHANGE_MIN) return [];
    return [{ name, measure, before_ms, after_ms }];
  });
}

/** All values of one measure; runs without it are left out. */
export function valuesOf(runs: readonly SuiteRun[], measure: TimeMeasure): number[] {
  return runs.flatMap((run) => {
    const value = run.record.timings[measure];
    return value === undefined ? [] : [value];
  });
}
