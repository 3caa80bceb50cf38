import { describe, expect, it } from "vitest";
import { afterwards } from "./afterwards.ts";
import type { Evidence } from "./evidence.ts";
import { output } from "./output.ts";

function evidence(change: Partial<Evidence>): Evidence {
  const absent = { state: "absent", why: "not asked" } as const;
  return {
    guest_kind: "integrity",
    held_still: false,
    owner: "source",
    settled: "",
    progress: [],
    memory: absent,
    guest: absent,
    ledger: absent,
    still: absent,
    again: absent,
    ...change,
  };
}

describe("output", () => {
  it("says nothing where nobody received, and unknown where nothing came", () => {
    expect(output.applies(evidence({}))).toBe(false);
    expect(output.judge(evidence({ edge: { frames: 0, repeated: 0, after_switchover: 0, changed: [] } })).verdict).toBe(
      "unknown",
    );
  });

  it("holds when what came again was the same, and names the frame that was not", () => {
    expect(output.judge(evidence({ edge: { frames: 9, repeated: 3, after_switchover: 4, changed: [] } })).verdict).toBe(
      true,
    );
    const judged = output.judge(
      evidence({ edge: { frames: 9, repeated: 3, after_switchover: 4, changed: ["frame 4 came again"] } }),
    );
    expect(judged).toMatchObject({ verdict: false, summary: expect.stringContaining("frame 4") });
  });
});

describe("afterwards", () => {
  const memory = { step: 9, pages_checked: 5, bad_count: 0, bad: [] };

  it("holds only where pages were looked at and all are right", () => {
    const of = (change: Partial<typeof memory>) =>
      afterwards.judge(
        evidence({ afterwards: { state: "got", value: { what: "reset", memory: { ...memory, ...change } } } }),
      ).verdict;
    expect([of({}), of({ bad_count: 1 }), of({ pages_checked: 0 })]).toEqual([true, false, false]);
  });

  it("is unknown where it could not be done", () => {
    expect(afterwards.judge(evidence({ afterwards: { state: "failed", why: "no boot" } })).verdict).toBe("unknown");
  });
});
