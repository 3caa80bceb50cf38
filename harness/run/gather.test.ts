import { describe, expect, it } from "vitest";
import { type CaseChange, makeCase, moves, WELL_EVENTS } from "../checks/testing/make-case.ts";
import { judge } from "../checks/verdict.ts";
import { stillArriving } from "./gather.ts";

describe("a VM that still lacks pages", () => {
  const arriving = { arrived: 1_200, total: 262_144 };
  const nothing = { state: "absent", why: stillArriving(arriving) } as const;
  const change: CaseChange = {
    evidence: { not_looked_at: nothing.why },
    findings: { memory: nothing, guest: nothing, ledger: nothing, again: nothing },
    events: WELL_EVENTS,
  };

  it("is not judged by its memory: nobody knows", () => {
    const { scenario, events, evidence } = makeCase(change);
    const judged = judge(scenario, events, evidence);
    expect(judged.verdict).toBe("unknown");
    expect(judged.why).toBe(`memory-model: not looked at: ${stillArriving(arriving)}`);
    expect(judged.why).toContain("still arriving: 1200 of 262144 pages");
  });

  it("is lost where it stands still for want of them", () => {
    const progress = [{ ...moves, after: 7 }];
    const { scenario, events, evidence } = makeCase({ ...change, evidence: { ...change.evidence, progress } });
    expect(judge(scenario, events, evidence).verdict).toBe("lost");
  });
});
