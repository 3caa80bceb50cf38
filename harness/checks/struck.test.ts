import { describe, expect, it } from "vitest";
import type { TimelineEvent } from "../base/timeline.ts";
import { runCheck } from "./check.ts";
import { struck } from "./struck.ts";
import { at, makeCase, stands, WELL_EVENTS } from "./testing/make-case.ts";
import { type Judged, judge } from "./verdict.ts";

const FAULTS = [
  { id: "fault-0", name: "fault 0 (kill-host, target)" },
  { id: "fault-1", name: "fault 1 (cut-reset, link source-target)" },
];
const injected = (id: string): TimelineEvent =>
  at(3_000, "fault", { kind: "fault.injected", fault: "f", id, what: "" });
const failed = (id: string, error: string): TimelineEvent =>
  at(3_000, "fault", { kind: "fault.failed", fault: "f", id, error });
const judgedWith = (faults: typeof FAULTS, ...more: TimelineEvent[]): Judged => {
  const { scenario, events, evidence } = makeCase({ faults, events: [...WELL_EVENTS, ...more] });
  return judge(scenario, events, evidence);
};

describe("faults that did not strike", () => {
  it("leave a verdict alone where all of them did", () => {
    expect(judgedWith(FAULTS, injected("fault-0"), injected("fault-1")).verdict).toBe("intact");
    expect(runCheck(struck, makeCase())).toBeUndefined();
  });

  it("make it unknown, with the reason where there is one", () => {
    expect(judgedWith(FAULTS, injected("fault-0"))).toMatchObject({
      verdict: "unknown",
      why: "fault 1 (cut-reset, link source-target) never struck",
    });
    const why = 'fault 1 waits for "takeover", which cannot come any more: the escrow\'s host is dead';
    expect(judgedWith(FAULTS, injected("fault-0"), failed("fault-1", why)).why).toContain(why);
    expect(judgedWith(FAULTS, injected("fault-0"), failed("fault-0", "not healed"), injected("fault-1"))).toMatchObject(
      {
        verdict: "unknown",
        why: expect.stringContaining("not healed"),
      },
    );
  });

  it("do not make a verdict better that is worse", () => {
    const { scenario, events, evidence } = makeCase({ faults: FAULTS, evidence: { progress: [stands] } });
    const { verdict, why } = judge(scenario, events, evidence);
    expect(verdict).toBe("lost");
    // That not all of it struck is said all the same.
    expect(why).toContain("fault 0 (kill-host, target) never struck");
  });
});
