import { describe, expect, it } from "vitest";
import type { TimelineEvent, Verdict } from "../base/timeline.ts";
import { got, makeCase, WELL_EVENTS } from "../checks/testing/make-case.ts";
import { judge } from "../checks/verdict.ts";
import { differences, inWords, recordContradictions, scenarioOf } from "./judge-again.ts";
import { makeRecord } from "./make-record.ts";

const { scenario, events, evidence } = makeCase();
const judged = judge(scenario, events, evidence);
const SHA256 = "0".repeat(64);
const SEALS = { record: SHA256, evidence: SHA256 };
/** What is written behind what was judged. */
const ended = (verdict: Verdict) =>
  ({
    at_ms: 9_000,
    lane: "run",
    kind: "run.finished",
    verdict,
    as_expected: true,
  }) as const;
const TOLD = judged.checks.map(
  ({ check, verdict, summary }): TimelineEvent => ({
    at_ms: 8_999,
    lane: "check",
    kind: "check.result",
    check,
    verdict,
    summary,
  }),
);
const WHOLE = [...events, ...TOLD, ended(judged.verdict)];
const RECORD = makeRecord({ verdict: judged.verdict, why: judged.why, checks: judged.checks, evidence_sha256: SHA256 });

describe("a run that is judged again", () => {
  it("says the same where nothing has changed", () => {
    expect(differences(RECORD.checks, judged.checks)).toEqual([]);
    expect(recordContradictions(RECORD, WHOLE, evidence, SEALS)).toEqual([]);
    expect(inWords(RECORD, judged, [])).toEqual([
      expect.stringContaining("now:  intact"),
      expect.stringContaining("then: intact"),
      "no check says anything else than it said then",
    ]);
  });

  it("names each check that says something else, is new, or is no more", () => {
    const was = [
      { check: "ledger", verdict: true, summary: "all there" },
      { check: "gone", verdict: false, summary: "it was bad" },
    ] as const;
    const is = [
      { check: "ledger", verdict: false, summary: "one is missing" },
      { check: "new", verdict: true, summary: "it holds" },
    ] as const;
    expect(differences(was, is)).toEqual([
      { check: "ledger", was: true, is: false, summary: "one is missing" },
      { check: "gone", was: false, is: undefined, summary: "it was bad" },
      { check: "new", was: undefined, is: true, summary: "it holds" },
    ]);
  });

  it("knows the faults of its record as the timeline names them", () => {
    const faults = [{ fault: "kill-host", on: "target", at: "pages 30 %" }];
    expect(scenarioOf({ faults }).faults).toEqual([{ id: "fault-0", name: "fault 0 (kill-host, target)" }]);
  });

  it("is found out where its record was changed, or its evidence exchanged", () => {
    const of = (change: Parameters<typeof makeRecord>[0], seals = SEALS): readonly string[] =>
      recordContradictions({ ...RECORD, ...change }, WHOLE, evidence, seals);
    expect(of({ seed: 8 })).toEqual(["by run.json the seed is 8, by the timeline 7"]);
    expect(of({ guest: "linux" })).toHaveLength(1);
    expect(of({}, { ...SEALS, evidence: "1".repeat(64) })).toEqual([
      expect.stringContaining("not the one by which the run was judged"),
    ]);
    const other = TOLD.map((event) =>
      event.kind === "check.result" && event.check === "ledger" ? { ...event, verdict: false } : event,
    );
    expect(recordContradictions(RECORD, [...events, ...other, ended("lost")], evidence, SEALS)).toEqual([
      "by run.json the verdict was intact, by the timeline lost",
      "by run.json ledger said true, by the timeline false",
    ]);
  });

  it("is found out where what its checks said was changed, left out, or told twice", () => {
    const [first, ...rest] = TOLD;
    if (first?.kind !== "check.result") throw new Error("no check said anything");
    const of = (...told: readonly TimelineEvent[]): readonly string[] =>
      recordContradictions(RECORD, [...events, ...told, ended(judged.verdict)], evidence, SEALS);
    expect(of({ ...first, summary: "all is well" }, ...rest)).toEqual([
      `by run.json and by the timeline ${first.check} said it in other words`,
    ]);
    expect(of(...rest)).toEqual([`by the timeline nothing was said by ${first.check}, by run.json there was`]);
    expect(of(first, ...TOLD)).toEqual([`by the timeline ${first.check} said something twice`]);
  });

  it("is found out where anything of its record was changed, or an event was put behind the sealed ones", () => {
    const sealed = { ...ended(judged.verdict), evidence_sha256: SHA256, record_sha256: SHA256 };
    const of = (told: readonly TimelineEvent[], seals = SEALS): readonly string[] =>
      recordContradictions(RECORD, told, { ...evidence, files: [] }, seals);
    expect(of([...events, ...TOLD, sealed])).toEqual([]);
    expect(of([...events, ...TOLD, sealed], { ...SEALS, record: "1".repeat(64) })).toEqual([
      "run.json is not the one with which the timeline ends: its SHA-256 is another",
    ]);
    const struck = { kind: "fault.injected", fault: "kill-host", id: "fault-0", what: "escrow" } as const;
    const put_in: TimelineEvent = { at_ms: 500, lane: "fault", ...struck };
    expect(of([...events, put_in, ...TOLD, sealed])).toEqual([
      "the timeline has an event fault.injected behind what the run was judged by",
    ]);
    expect(of([...events, sealed, ...TOLD])).toEqual(["the timeline goes on behind the run's end"]);
    expect(of([...events, ...TOLD, ended(judged.verdict)])).toEqual([
      "the timeline's end does not say which evidence.json is the run's",
      "the timeline's end does not say which run.json is the run's",
    ]);
  });

  it("is not whole where its timeline ends before a verdict", () => {
    expect(recordContradictions(RECORD, events, evidence, SEALS)).toEqual([
      "timeline.ndjson ends before a verdict, and run.json has one",
    ]);
  });

  it("whose evidence was changed alone differs from its timeline's seal or from its record's", () => {
    const other = makeCase({ findings: { memory: got({ step: 1, pages_checked: 1, bad_count: 1, bad: [] }) } });
    // The timeline's digest holds: what gives it away is the record.
    expect(judge(other.scenario, WELL_EVENTS, other.evidence).verdict).toBe("corrupt");
    expect(recordContradictions(RECORD, WHOLE, other.evidence, { ...SEALS, evidence: "2".repeat(64) })).toHaveLength(1);
  });
});
