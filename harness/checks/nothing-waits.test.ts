import { describe, expect, it } from "vitest";
import type { CheckResult } from "../base/run-record.ts";
import type { TimelineEvent } from "../base/timeline.ts";
import { runCheck } from "./check.ts";
import { nothingWaits } from "./nothing-waits.ts";
import { at, type CaseChange, got, makeCase, moves, stands, WELL_EVENTS } from "./testing/make-case.ts";

const owner = { host: "target", answered_ms: 1, status: "running", migration: "completed" };
const judgedOf = (others: readonly object[], change: CaseChange = {}): CheckResult | undefined =>
  runCheck(nothingWaits, makeCase({ ...change, findings: { monitors: got([owner, ...others]) } }));
const silent = { host: "source", silent: "no answer within 5000 ms" };

describe("nothing waits for ever", () => {
  it("where every monitor answers and every migration has come to an end", () => {
    expect(judgedOf([{ host: "source", answered_ms: 2, status: "postmigrate", migration: "completed" }])?.verdict).toBe(
      true,
    );
  });

  it("is false for a monitor that does not answer (CASES 4 and 7)", () => {
    expect(judgedOf([silent])).toMatchObject({
      verdict: false,
      summary: expect.stringContaining("source does not answer"),
    });
    expect(nothingWaits.false_means).toBe("unfinished");
  });

  it("is false for a QEMU that was left to wait for a migration that nobody drives (CASES 7)", () => {
    for (const left of [
      { host: "source", answered_ms: 1, status: "inmigrate", migration: "none" },
      { host: "source", answered_ms: 1, status: "paused", migration: "postcopy-paused" },
    ])
      expect(judgedOf([left])).toMatchObject({ verdict: false, summary: expect.stringContaining("waits for ever") });
  });

  it("leaves to agents what stands by, and to a fault what it holds", () => {
    const standby = { host: "source", answered_ms: 1, status: "inmigrate", migration: "none" };
    expect(judgedOf([standby], { evidence: { gated: true } })?.verdict).toBe(true);
    const fault = { fault: "freeze-process", id: "fault-0" };
    const frozen = at(2_000, "fault", { kind: "fault.injected", ...fault, what: "freeze-process: qemu on source" });
    const thawed = at(2_500, "fault", { kind: "fault.healed", ...fault });
    const of = (...more: TimelineEvent[]) => judgedOf([silent], { events: [...WELL_EVENTS, ...more] })?.verdict;
    expect([of(frozen), of(frozen, thawed)]).toEqual([true, false]);
    const strikes = (fault: string, nth: number, what: string) =>
      at(2_000 + nth, "fault", { kind: "fault.injected", fault, id: `fault-${nth}`, what: `${fault}: ${what}` });
    const one = strikes("cut-reset", 1, "link source-target");
    expect(of(strikes("detach-host", 1, "source"))).toBe(true);
    expect(of(one)).toBe(false);
    expect(of(one, strikes("cut-silent", 2, "link source-escrow"))).toBe(true);
  });

  it("is false for a VM that another host has taken over and that nobody ends, where it could be reached", () => {
    const old = { host: "source", answered_ms: 1, status: "running", migration: "none" };
    const judge = (...more: TimelineEvent[]) =>
      judgedOf([old], { evidence: { gated: true }, events: [...WELL_EVENTS, ...more] });
    expect(judge()).toMatchObject({
      verdict: false,
      summary: expect.stringContaining("VM on source runs on for nobody"),
    });
    const away = (fault: string, what: string) =>
      at(2_000, "fault", { kind: "fault.injected", fault, id: "fault-0", what: `${fault}: ${what}` });
    expect(judge(away("detach-host", "source"))?.verdict).toBe(true);
    expect(judge(away("kill-process", "agent on source"))?.verdict).toBe(true);
    expect(judge(away("kill-process", "agent on target"))?.verdict).toBe(false);
    // Who has it nobody knows, or it is stock QEMU, where two that run are two (single-instance).
    expect(judgedOf([old], { evidence: { gated: true, owner: "none", progress: [moves] } })?.verdict).toBe(true);
    expect(judgedOf([old])?.verdict).toBe(true);
  });

  it("is not asked of a run whose VM is lost: that is said already", () => {
    expect(judgedOf([silent], { evidence: { owner: "none", progress: [stands] } })).toBeUndefined();
  });
});
