import { describe, expect, it } from "vitest";
import { afterwards } from "./afterwards.ts";
import type { Evidence, OutputFindings } from "./evidence.ts";
import { output } from "./output.ts";
import { outputComplete } from "./output-complete.ts";
import { violations } from "./violations.ts";

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

const WELL: OutputFindings = {
  frames: 9,
  repeated: 3,
  after_switchover: 4,
  changed: [],
  refused: 0,
  torn: 0,
  missing: 0,
  late: [],
};
const edge = (change: Partial<OutputFindings>): Evidence => evidence({ edge: { ...WELL, ...change } });

describe("output", () => {
  it("says nothing where nobody received, and unknown where nothing came", () => {
    expect(output.applies(evidence({}))).toBe(false);
    expect(output.judge(edge({ frames: 0 })).verdict).toBe("unknown");
  });

  it("holds when what came again was the same, and names the frame that was not", () => {
    expect(output.judge(edge({})).verdict).toBe(true);
    const judged = output.judge(edge({ changed: ["frame 4 came again"] }));
    expect(judged).toMatchObject({ verdict: false, summary: expect.stringContaining("frame 4") });
  });

  it("is two histories where a generation that was succeeded let out what the newer one does not", () => {
    const judged = output.judge(edge({ late: ["frame 8 came from target in generation 1"] }));
    expect(judged).toMatchObject({ verdict: false, summary: expect.stringContaining("frame 8") });
    expect(output.false_means).toBe("split-brain");
  });
});

describe("complete output", () => {
  it("has every frame that the owner let out, whatever had to be asked for again", () => {
    expect(outputComplete.applies(evidence({}))).toBe(false);
    expect(outputComplete.judge(edge({})).verdict).toBe(true);
    expect(outputComplete.judge(edge({ refused: 2, torn: 1 }))).toMatchObject({
      verdict: true,
      summary: expect.stringContaining("2 were refused"),
    });
    expect(outputComplete.judge(edge({ missing: 2 }))).toMatchObject({
      verdict: false,
      summary: expect.stringContaining("2 frames that the owner let out after frame 9 never came"),
    });
    expect(outputComplete.false_means).toBe("corrupt");
  });
});

describe("violations", () => {
  it("are looked for where agents are, and the first of them is told", () => {
    expect(violations.applies(evidence({}))).toBe(false);
    expect(violations.judge(evidence({ violations: [] })).verdict).toBe(true);
    const told = ["escrow: record 3 lacks page 17", "escrow: record 4 lacks page 17"];
    expect(violations.judge(evidence({ violations: told }))).toEqual({
      verdict: false,
      summary: "violation: escrow: record 3 lacks page 17 (and 1 more)",
      evidence: told,
    });
    expect(violations.false_means).toBe("corrupt");
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
