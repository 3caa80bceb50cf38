import { describe, expect, it } from "vitest";
import type { TimelineEvent } from "../base/timeline.ts";
import { struck } from "./struck.ts";
import type { Judged } from "./verdict.ts";

const INTACT: Judged = { verdict: "intact", why: "all checks hold", checks: [] };
const FAULTS = [
  { id: "fault-0", name: "fault 0 (kill-host, target)" },
  { id: "fault-1", name: "fault 1 (cut-reset, link source-target)" },
];
const injected = (id: string): TimelineEvent => ({
  at_ms: 1,
  lane: "fault",
  kind: "fault.injected",
  fault: "f",
  id,
  what: "",
});
const failed = (id: string, error: string): TimelineEvent => ({
  at_ms: 2,
  lane: "fault",
  kind: "fault.failed",
  fault: "f",
  id,
  error,
});

describe("faults that did not strike", () => {
  it("leave a verdict alone where all of them did", () => {
    expect(struck(INTACT, FAULTS, [injected("fault-0"), injected("fault-1")])).toBe(INTACT);
    expect(struck(INTACT, [], [])).toBe(INTACT);
  });

  it("make it unknown, with the reason where there is one", () => {
    expect(struck(INTACT, FAULTS, [injected("fault-0")])).toMatchObject({
      verdict: "unknown",
      why: "fault 1 (cut-reset, link source-target) never struck",
    });
    const why = 'fault 1 waits for "takeover", which cannot come any more: the escrow\'s host is dead';
    expect(struck(INTACT, FAULTS, [injected("fault-0"), failed("fault-1", why)]).why).toContain(why);
    const both = [injected("fault-0"), failed("fault-0", "not healed"), injected("fault-1")];
    expect(struck(INTACT, FAULTS, both)).toMatchObject({
      verdict: "unknown",
      why: expect.stringContaining("not healed"),
    });
  });

  it("do not make a verdict better that is worse", () => {
    const lost: Judged = { ...INTACT, verdict: "lost" };
    expect(struck(lost, FAULTS, [])).toBe(lost);
  });
});
