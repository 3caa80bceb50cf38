import { describe, expect, it } from "vitest";
import type { Case } from "./check.ts";
import { type OutputFindings, output } from "./output.ts";
import { outputComplete } from "./output-complete.ts";
import { got, makeCase } from "./testing/make-case.ts";

const NONE = { count: 0 };
const WELL: OutputFindings = {
  frames: 9,
  repeated: 3,
  after_switchover: 4,
  changed: NONE,
  late: NONE,
  gaps: NONE,
  torn: 0,
  missing: NONE,
  marks: [{ host: "source", frame: 9, came: true }],
};
const edge = (change: Partial<OutputFindings>): Case =>
  makeCase({ evidence: { gated: true }, findings: { edge: got({ ...WELL, ...change }) } });

describe("output", () => {
  it("says nothing where there is no gate, and unknown where nothing came", () => {
    expect(output.applies(makeCase())).toBe(false);
    expect(output.judge(edge({ frames: 0 })).verdict).toBe("unknown");
  });

  it("holds when what came again was the same, and names the frame that was not", () => {
    expect(output.judge(edge({})).verdict).toBe(true);
    const judged = output.judge(edge({ changed: { count: 2, first: "frame 4 changed", last: "frame 7 changed" } }));
    expect(judged).toMatchObject({
      verdict: false,
      summary: expect.stringContaining("the first: frame 4 changed; the last: frame 7 changed"),
    });
  });

  it("is two histories where a generation that was succeeded let out what the newer one does not", () => {
    const judged = output.judge(edge({ late: { count: 1, first: "frame 8 came from target in generation 1" } }));
    expect(judged).toMatchObject({ verdict: false, summary: expect.stringContaining("frame 8") });
    expect(output.false_means).toBe("split-brain");
  });
});

describe("complete output", () => {
  it("has every frame that anybody let out, though a line had to be asked for again", () => {
    expect(outputComplete.applies(makeCase())).toBe(false);
    expect(outputComplete.judge(edge({}))).toEqual({ verdict: true, summary: "all of 9 frames came" });
    expect(outputComplete.judge(edge({ torn: 1 }))).toMatchObject({
      verdict: true,
      summary: expect.stringContaining("1 could not be read"),
    });
  });

  it("was let out in order: what came with some missing before it is wrong, though it was asked for again", () => {
    const gaps = { count: 2, first: "frame 4 came from target after frame 2" };
    const judged = outputComplete.judge(edge({ gaps }));
    expect(judged).toMatchObject({ verdict: false, evidence: { gaps } });
    expect(judged.summary).toMatch(
      /^2 times output was let out .*frame 4 came from target after frame 2.*asked for again/,
    );
    const missing = { count: 1, first: "frame 3" };
    expect(outputComplete.judge(edge({ gaps, missing })).summary).toMatch(/^1 frames never came: frame 3; 2 times/);
  });

  it("is short of frames that never came, the first and the last of them named, and of marks never reached", () => {
    const missing = { count: 2, first: "frame 10", last: "frame 11" };
    const judged = outputComplete.judge(edge({ missing, marks: [{ host: "target", frame: 11, came: false }] }));
    expect(judged.verdict).toBe(false);
    expect(judged.summary).toContain("2 frames never came: the first: frame 10; the last: frame 11");
    expect(judged.summary).toContain("target says to have let out all up to frame 11");
    // One is as bad as many.
    const one = { count: 1, first: "frame 7" };
    expect(outputComplete.judge(edge({ missing: one }))).toMatchObject({
      verdict: false,
      summary: "1 frames never came: frame 7",
    });
    expect(outputComplete.false_means).toBe("corrupt");
  });
});
