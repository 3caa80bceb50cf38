import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { contradictions } from "./agreement.ts";
import { makeCase, moves, WELL_EVENTS } from "./testing/make-case.ts";
import { judge } from "./verdict.ts";

describe("timeline and evidence", () => {
  it("of one run agree, whatever is said after the evidence was written", () => {
    expect(contradictions(makeCase())).toEqual([]);
    const later = { at_ms: 9_000, lane: "run", kind: "run.note", text: "later" } as const;
    const seen = makeCase();
    expect(contradictions({ ...seen, events: [...seen.events, later] })).toEqual([]);
  });

  it("contradict each other where any event beside which the evidence was written is changed, left out or put in", () => {
    const seen = makeCase();
    const deed = fc.constantFrom("changed", "left out", "doubled");
    fc.assert(
      fc.property(fc.nat(WELL_EVENTS.length - 1), deed, (at, how) => {
        const events = seen.events.flatMap((event, index) => {
          if (index !== at) return [event];
          if (how === "changed") return [{ ...event, at_ms: event.at_ms + 1 }];
          // What comes after the last is no part of it.
          if (how === "doubled" && index < WELL_EVENTS.length - 1) return [event, event];
          return [];
        });
        expect(contradictions({ ...seen, events })).not.toEqual([]);
        expect(judge(seen.scenario, events, seen.evidence).verdict).toBe("unknown");
      }),
    );
  });

  it("contradict each other where the evidence gives the VM to somebody else, or saw one where none was", () => {
    expect(contradictions(makeCase({ evidence: { owner: "source" } }))).toEqual([
      "by the timeline target has the VM, by the evidence source",
    ]);
    const [settled] = contradictions(makeCase({ evidence: { settled: "all is well" } }));
    expect(settled).toContain('"all is well" by the evidence');
    const [elsewhere] = contradictions(makeCase({ evidence: { progress: [{ ...moves, host: "escrow" }] } }));
    expect(elsewhere).toContain("no QEMU was ever started");
  });

  it("that contradict each other prove nothing, whatever they say", () => {
    const { scenario, events, evidence } = makeCase({ evidence: { owner: "none", settled: "dead" } });
    const { verdict, why } = judge(scenario, events, evidence);
    expect([verdict, why.startsWith("timeline and evidence contradict each other")]).toEqual(["unknown", true]);
  });
});
