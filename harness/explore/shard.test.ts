import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { isMine, parseShard, shardIn, shardOf } from "./shard.ts";

describe("who spreads the jobs says which part this machine has", () => {
  it.each<readonly [string, Readonly<Record<string, string>>, readonly [number, number]]>([
    ["GitLab", { CI_NODE_INDEX: "2", CI_NODE_TOTAL: "5" }, [2, 5]],
    ["CircleCI", { CIRCLE_NODE_INDEX: "0", CIRCLE_NODE_TOTAL: "3" }, [1, 3]],
    ["Kubernetes", { JOB_COMPLETION_INDEX: "3", JOB_COMPLETIONS: "4" }, [4, 4]],
    ["Slurm", { SLURM_ARRAY_TASK_ID: "1", SLURM_ARRAY_TASK_MIN: "1", SLURM_ARRAY_TASK_COUNT: "4" }, [1, 4]],
    [
      "Slurm by fours",
      {
        SLURM_ARRAY_TASK_ID: "12",
        SLURM_ARRAY_TASK_MIN: "4",
        SLURM_ARRAY_TASK_STEP: "4",
        SLURM_ARRAY_TASK_COUNT: "4",
      },
      [3, 4],
    ],
    ["anything else", { FERRYMAN_SHARD: "1/2", CI_NODE_INDEX: "2", CI_NODE_TOTAL: "5" }, [1, 2]],
  ])("%s", (_, environment, [index, of]) => {
    expect(shardIn(environment)).toMatchObject({ index, of });
  });

  it("nobody says anything: all of it is done here", () => {
    expect(shardIn({})).toBeUndefined();
    expect(shardIn({ CI_NODE_TOTAL: "1" })).toBeUndefined();
  });

  it("says what is missing where only half is said", () => {
    expect(() => shardIn({ JOB_COMPLETION_INDEX: "1" })).toThrow(/JOB_COMPLETIONS/);
    expect(() => shardIn({ CI_NODE_INDEX: "7", CI_NODE_TOTAL: "5" })).toThrow(/part 7 of 5/);
    expect(() => parseShard("0/3")).toThrow(/i\/n/);
    expect(() => parseShard("half")).toThrow(/i\/n/);
  });
});

describe("jobs fall to shards by hash", () => {
  const jobs = Array.from({ length: 1_000 }, (_, n) => `job ${n}`);

  it("each to one, and to the same one always", () => {
    fc.assert(
      fc.property(fc.string(), fc.integer({ min: 1, max: 9 }), (job, of) => {
        const mine = Array.from({ length: of }, (_, n) => isMine(job, { index: n + 1, of, from: "" }));
        expect(mine.filter(Boolean)).toHaveLength(1);
      }),
    );
  });

  it("about evenly", () => {
    const counts = Map.groupBy(jobs, (job) => shardOf(job, 4));
    for (const index of [1, 2, 3, 4]) expect(counts.get(index)?.length ?? 0).toBeGreaterThan(150);
  });

  it("and a machine more takes its share from the others, and moves nothing between them", () => {
    const moved = jobs.filter((job) => shardOf(job, 4) !== shardOf(job, 5));
    expect(moved.length).toBeLessThan(jobs.length / 3);
    for (const job of moved) expect(shardOf(job, 5)).toBe(5);
  });
});
