import { describe, expect, it } from "vitest";
import { CAMPAIGN_VERSION, type Campaign } from "./campaign.ts";
import { mergeParts, type Part } from "./merge.ts";

function part(index: number, jobs: readonly string[], ran: readonly string[], change: Partial<Campaign> = {}): Part {
  return {
    folder: `part-${index}`,
    campaign: {
      version: CAMPAIGN_VERSION,
      kind: "matrix",
      command: "run --matrix",
      started_at: "",
      owner: "",
      plan: "p",
      seed: 7,
      shard: { index, of: 3 },
      jobs: [...jobs],
      ...change,
    },
    done: ran.map((job) => ({ job, folder: job, verdict: "intact", as_expected: true, total_ms: 1 })),
  };
}

describe("parts of one campaign are put together", () => {
  it("whole", () => {
    const { done, missing } = mergeParts([part(2, ["b"], ["b"]), part(1, ["a"], ["a"]), part(3, ["c"], ["c"])]);
    expect(done.map(({ job }) => job).sort()).toEqual(["a", "b", "c"]);
    expect(missing).toEqual([]);
  });

  it("with what is missing named: a machine's part, and runs that were not made", () => {
    const { missing } = mergeParts([part(1, ["a", "b"], ["a"]), part(3, ["c"], ["c"])]);
    expect(missing).toEqual([
      "part 2 of 3 is missing: nothing of it is in these folders",
      "1 of 2 runs of part-1 were not made: b",
    ]);
  });

  it("each job once, where a part was begun on one machine and ended on another", () => {
    const { done, missing } = mergeParts([
      part(1, ["a", "b"], ["a"]),
      part(1, ["a", "b"], ["a", "b"]),
      part(2, [], []),
      part(3, [], []),
    ]);
    expect(done).toHaveLength(2);
    expect(missing).toEqual([]);
  });

  it("and of two campaigns not", () => {
    expect(() => mergeParts([part(1, [], []), part(2, [], [], { plan: "q" })])).toThrow(
      /part-2 is of another campaign/,
    );
    expect(() => mergeParts([part(1, [], []), part(2, [], [], { shard: { index: 2, of: 4 } })])).toThrow(/a part of 4/);
    expect(() => mergeParts([])).toThrow(/nothing/);
  });
});
