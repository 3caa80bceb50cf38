import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { CheckVerdict, Verdict } from "../base/timeline.ts";
import type { Check } from "./check.ts";
import type { Evidence } from "./evidence.ts";
import { CHECKS } from "./index.ts";
import { judge } from "./verdict.ts";

const NOTHING = { state: "absent", why: "there is no VM to look at" } as const;
const EVIDENCE: Evidence = {
  guest_kind: "integrity",
  held_still: false,
  owner: "none",
  settled: "the target is dead",
  progress: [{ host: "target", before: undefined, after: undefined, watched_ms: 0 }],
  memory: NOTHING,
  guest: NOTHING,
  ledger: NOTHING,
  still: NOTHING,
  again: NOTHING,
};

interface Said {
  readonly false_means: Check["false_means"];
  readonly says: CheckVerdict | "crashes" | "does not apply" | "crashes when asked whether it applies";
}

const made = ({ false_means, says }: Said, index: number): Check => ({
  name: `check-${index}`,
  false_means,
  applies: () => {
    if (says === "crashes when asked whether it applies") throw new Error("boom");
    return says !== "does not apply";
  },
  judge: () => {
    if (says === "crashes" || says === "does not apply" || says === "crashes when asked whether it applies") {
      throw new Error("boom");
    }
    return { verdict: says, summary: `check-${index} says ${says}` };
  },
});

const said: fc.Arbitrary<Said> = fc.record({
  false_means: fc.constantFrom("lost" as const, "corrupt" as const, "split-brain" as const),
  says: fc.constantFrom(
    ...([true, false, "unknown", "crashes", "does not apply", "crashes when asked whether it applies"] as const),
  ),
});

/** The same said once more, in other words. */
function expected(all: readonly Said[]): Verdict {
  const means = all.filter(({ says }) => says === false).map(({ false_means }) => false_means);
  for (const verdict of ["split-brain", "lost", "corrupt"] as const) if (means.includes(verdict)) return verdict;
  const applying = all.filter(({ says }) => says !== "does not apply");
  return applying.length > 0 && applying.every(({ says }) => says === true) ? "intact" : "unknown";
}

describe("verdict", () => {
  it("is split-brain before lost before corrupt before unknown before intact", () => {
    fc.assert(
      fc.property(fc.array(said, { maxLength: 8 }), (all) => {
        expect(judge(EVIDENCE, all.map(made)).verdict).toBe(expected(all));
      }),
      { numRuns: 1000 },
    );
  });

  it("does not depend on the order of the checks", () => {
    fc.assert(
      fc.property(fc.array(said, { minLength: 1, maxLength: 8 }), (all) => {
        const reversed = [...all].reverse().map(made);
        expect(judge(EVIDENCE, reversed).verdict).toBe(judge(EVIDENCE, all.map(made)).verdict);
      }),
    );
  });

  it("carries the result of every check that applies, and says in its own words why", () => {
    const all = [
      { false_means: "corrupt", says: false },
      { false_means: "lost", says: "does not apply" },
      { false_means: "lost", says: "crashes" },
    ] as const;
    const { why, checks } = judge(EVIDENCE, all.map(made));
    expect(checks.map(({ check, verdict }) => [check, verdict])).toEqual([
      ["check-0", false],
      ["check-2", "unknown"],
    ]);
    expect(why).toBe("check-0 says false");
  });

  it("is not intact where no check had anything to say", () => {
    expect(judge(EVIDENCE, []).verdict).toBe("unknown");
  });

  it("of a run without any VM is lost, by the real checks", () => {
    expect(judge(EVIDENCE).verdict).toBe("lost");
    expect(CHECKS.length).toBeGreaterThan(0);
  });
});
