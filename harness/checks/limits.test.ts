import { describe, expect, it } from "vitest";
import type { TimelineEvent } from "../base/timeline.ts";
import { runCheck } from "./check.ts";
import { limits } from "./limits.ts";
import { at, makeCase, stands } from "./testing/make-case.ts";
import { judge } from "./verdict.ts";

const step = (at_ms: number, step: number): TimelineEvent =>
  at(at_ms, "target", { kind: "guest.progress", host: "target", cpu: 0, step });
const phase = (at_ms: number, phase: "migrate" | "check"): TimelineEvent =>
  at(at_ms, "run", { kind: "run.phase", phase });
const EVENTS: readonly TimelineEvent[] = [
  phase(0, "migrate"),
  step(100, 10),
  at(200, "fault", { kind: "fault.injected", fault: "kill-host", id: "fault-0", what: "target" }),
  at(650, "source", { kind: "vote.asked", generation: 2 }),
  step(1_900, 20),
  step(1_950, 21),
  phase(2_000, "check"),
  // Whoever looks at the guest afterwards stops it: that is nobody's stillness.
  step(90_000, 22),
];
const seen = (set: readonly { of: string; most: number }[], change: Parameters<typeof makeCase>[0] = {}) => {
  const { scenario, ...rest } = makeCase({ events: EVENTS, ...change });
  return { scenario: { ...scenario, limits: set }, ...rest };
};
const kept = (...set: { of: string; most: number }[]) => runCheck(limits, seen(set));

describe("limits", () => {
  it("are not there, or kept, or broken by what they say", () => {
    expect(kept()).toBeUndefined();
    expect(kept({ of: "stillness", most: 2_000 }, { of: "detect", most: 450 })).toMatchObject({ verdict: true });
    expect(kept({ of: "stillness", most: 2_000 }, { of: "detect", most: 400 })).toMatchObject({
      verdict: false,
      summary: "detection is 450 ms, at most 400 ms",
      evidence: [
        { of: "stillness", most: 2_000, found: 1_800 },
        { of: "detect", most: 400, found: 450 },
      ],
    });
  });

  it("are not kept by what was never seen, nor by a VM that is lost", () => {
    const summary = "recovery is not there, at most 60000 ms";
    expect(kept({ of: "recover", most: 60_000 })).toMatchObject({ verdict: false, summary });
    const lost = seen([{ of: "stillness", most: 60_000 }], { evidence: { owner: "none", progress: [stands] } });
    expect(runCheck(limits, lost)).toMatchObject({ verdict: false, summary: /stillness is not there/ });
  });

  it("are unknown where a later Ferryman has set one that nobody here knows", () => {
    expect(kept({ of: "warmth", most: 1 })).toMatchObject({ verdict: "unknown" });
  });

  it("change no verdict, and are in its reason", () => {
    const { scenario, events, evidence } = seen([{ of: "migration", most: 1_000 }]);
    expect(judge(scenario, events, evidence, [limits])).toMatchObject({
      untidy: ["limits: migration is 2000 ms, at most 1000 ms"],
      why: expect.stringContaining("; but limits: migration is 2000 ms, at most 1000 ms"),
    });
  });
});
