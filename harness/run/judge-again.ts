import { createHash } from "node:crypto";
import type { CheckResult, RunRecord } from "../base/run-record.ts";
import type { CheckVerdict, TimelineEvent } from "../base/timeline.ts";
import type { JudgedScenario } from "../checks/check.ts";
import type { Evidence } from "../checks/evidence.ts";
import type { Judged } from "../checks/verdict.ts";
import { isEnding } from "./timeline.ts";
import { faultId } from "./trigger.ts";

/** What of an old run has to be known to judge it again, from its own record. */
export function scenarioOf({ faults, limits = [] }: Pick<RunRecord, "faults" | "limits">): JudgedScenario {
  return {
    faults: faults.map(({ fault, on, asks, before, stops }, index) => ({
      id: faultId(index),
      name: `fault ${index} (${fault}, ${on})`,
      ...(asks === undefined ? {} : { asks: { what: asks.what, answer: asks.answer } }),
      ...(before === undefined ? {} : { before }),
      ...(stops === undefined ? {} : { stops }),
    })),
    limits: limits.map(({ of, most }) => ({ of, most })),
  };
}

/** Of what a run is judged by and only its record says: the beginning of its timeline has it, which the evidence seals. */
export function askedDigest(scenario: JudgedScenario): string {
  return createHash("sha256").update(JSON.stringify(scenario)).digest("hex");
}

/**
 * What follows from a run whose files contradict each other: nothing, and least of all that its VM is intact. What they
 * would come to is said beside it.
 */
export function believed(judged: Judged, contradictions: readonly string[]): Judged {
  const [first] = contradictions;
  if (first === undefined) return judged;
  const why = `the files of the run are not of one piece: ${first}; timeline and evidence by themselves come to ${judged.verdict}: ${judged.why}`;
  return { ...judged, verdict: "unknown", why };
}

/** A check that says something else than it said then; undefined: it was not there, or had nothing to say. */
export interface Difference {
  readonly check: string;
  readonly was: CheckVerdict | undefined;
  readonly is: CheckVerdict | undefined;
  /** What it says now; what it said then where it says nothing any more. */
  readonly summary: string;
}

/** The checks that say something else today than when the run was judged. */
export function differences(then: readonly CheckResult[], now: readonly CheckResult[]): readonly Difference[] {
  const names = new Set([...then, ...now].map(({ check }) => check));
  return [...names].flatMap((check): Difference[] => {
    const [before, after] = [then, now].map((results) => results.find((result) => result.check === check));
    if (before?.verdict === after?.verdict) return [];
    return [{ check, was: before?.verdict, is: after?.verdict, summary: (after ?? before)?.summary ?? "" }];
  });
}

/** SHA-256 of the files as they are. */
export interface Seals {
  readonly record: string;
  readonly evidence: string;
}

/**
 * Where `run.json` contradicts what stands beside it, each place in one sentence. That timeline and evidence agree is a
 * check of its own.
 */
export function recordContradictions(
  record: RunRecord,
  events: readonly TimelineEvent[],
  evidence: Evidence,
  { record: record_sha256, evidence: evidence_sha256 }: Seals,
): readonly string[] {
  const found: string[] = [];
  if (record.evidence_sha256 === undefined) found.push("run.json does not say which evidence it was judged by");
  else if (record.evidence_sha256 !== evidence_sha256)
    found.push("evidence.json is not the one by which the run was judged: its SHA-256 is another than in run.json");
  const started = events.find((event) => event.kind === "run.started");
  if (started?.kind === "run.started")
    for (const what of ["scenario", "recovery", "seed"] as const)
      if (started[what] !== record[what])
        found.push(`by run.json the ${what} is ${record[what]}, by the timeline ${started[what]}`);
  if (started?.kind === "run.started" && started.asked_sha256 !== undefined)
    if (started.asked_sha256 !== askedDigest(scenarioOf(record)))
      found.push("the faults or limits in run.json are not those with which the run began");
  if (evidence.guest.kind !== record.guest)
    found.push(`by run.json the guest is ${record.guest}, by the evidence ${evidence.guest.kind}`);
  found.push(...endContradictions(record, events, evidence, { record: record_sha256, evidence: evidence_sha256 }));
  return found;
}

/** Where what stands behind the events that a run was judged by contradicts its other files. */
function endContradictions(
  record: RunRecord,
  events: readonly TimelineEvent[],
  evidence: Evidence,
  are: Seals,
): readonly string[] {
  const found: string[] = [];
  const finished = events.findLast((event) => event.kind === "run.finished");
  if (finished === undefined) return ["timeline.ndjson ends before a verdict, and run.json has one"];
  if (finished.verdict !== record.verdict)
    found.push(`by run.json the verdict was ${record.verdict}, by the timeline ${finished.verdict}`);
  if (finished.as_expected !== record.as_expected)
    found.push(`by run.json it was ${record.as_expected ? "" : "not "}as expected, by the timeline it was otherwise`);
  found.push(...resultContradictions(record.checks, events));
  for (const [file, seal, is] of [
    ["evidence.json", finished.evidence_sha256, are.evidence],
    ["run.json", finished.record_sha256, are.record],
  ] as const) {
    if (seal !== undefined && seal !== is)
      found.push(`${file} is not the one with which the timeline ends: its SHA-256 is another`);
    if (seal === undefined && isSealed(evidence))
      found.push(`the timeline's end does not say which ${file} is the run's`);
  }
  if (!isSealed(evidence)) return found;
  const behind = events.slice(evidence.timeline.events).filter((event) => !isEnding(event));
  for (const { kind } of behind) found.push(`the timeline has an event ${kind} behind what the run was judged by`);
  if (events.find(({ kind }) => kind === "run.finished") !== events.at(-1))
    found.push("the timeline goes on behind the run's end");
  return found;
}

/** Since evidence names the run's other files the timeline is sealed with it, and its end has the seals of both. */
function isSealed({ files }: Evidence): boolean {
  return files !== undefined;
}

/** What checks said by run.json, and by the timeline. */
function resultContradictions(results: readonly CheckResult[], events: readonly TimelineEvent[]): readonly string[] {
  const told = events.filter((event) => event.kind === "check.result");
  const found = told.flatMap(({ check, verdict, summary }) => {
    const result = results.find((one) => one.check === check);
    if (result?.verdict !== verdict)
      return [`by run.json ${check} said ${result?.verdict ?? "nothing"}, by the timeline ${verdict}`];
    return result.summary === summary ? [] : [`by run.json and by the timeline ${check} said it in other words`];
  });
  const untold = results.filter(({ check }) => !told.some((event) => event.check === check));
  if (untold.length > 0)
    found.push(
      `by the timeline nothing was said by ${untold.map(({ check }) => check).join(", ")}, by run.json there was`,
    );
  const twice = told.find(({ check }, index) => told.findIndex((one) => one.check === check) < index);
  if (twice !== undefined) found.push(`by the timeline ${twice.check} said something twice`);
  return found;
}

/** Both in words, a line each. */
export function inWords(record: RunRecord, judged: Judged, contradictions: readonly string[]): readonly string[] {
  const say = (verdict: CheckVerdict | undefined): string => (verdict === undefined ? "nothing" : String(verdict));
  const differ = differences(record.checks, judged.checks);
  return [
    `now:  ${judged.verdict}: ${judged.why}`,
    `then: ${record.verdict}: ${record.why}`,
    ...contradictions.map((text) => `not of one piece: ${text}`),
    ...differ.map(({ check, was, is, summary }) => `${check} said ${say(was)}, says ${say(is)}: ${summary}`),
    ...(differ.length === 0 ? ["no check says anything else than it said then"] : []),
  ];
}
