import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { CheckVerdict, Verdict } from "../base/timeline.ts";
import type { Check } from "./check.ts";
import { CHECKS } from "./index.ts";
import { at, makeCase, WELL_EVENTS } from "./testing/make-case.ts";
import { type Judged, judge } from "./verdict.ts";

const NOTHING = makeCase({
  evidence: { owner: "none", settled: "the target is dead", progress: [{ host: "target", watched_ms: 0 }] },
  events: [
    ...WELL_EVENTS.slice(0, -1),
    at(3_000, "run", { kind: "run.settled", owner: "none", how: "the target is dead" }),
  ],
});
const judgedBy = (all: readonly Check[]): Judged => judge(NOTHING.scenario, NOTHING.events, NOTHING.evidence, all);

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
  false_means: fc.constantFrom(
    ...([
      "lost",
      "corrupt",
      "rollback",
      "split-brain",
      "unproved",
      "untidy",
      "unfinished",
      "unbelievable",
      "too-late",
    ] as const),
  ),
  says: fc.constantFrom(
    ...([true, false, "unknown", "crashes", "does not apply", "crashes when asked whether it applies"] as const),
  ),
});

/** The same said once more, in other words. */
function expected(all: readonly Said[]): Verdict {
  const means = all.filter(({ says }) => says === false).map(({ false_means }) => false_means);
  if (means.includes("unbelievable")) return "unknown";
  for (const verdict of ["split-brain", "lost", "rollback", "corrupt"] as const)
    if (means.includes(verdict) && !(verdict === "lost" && means.includes("too-late"))) return verdict;
  const applying = all.filter(
    ({ says, false_means }) => says !== "does not apply" && false_means !== "untidy" && false_means !== "unfinished",
  );
  return applying.length > 0 && applying.every(({ says }) => says === true) ? "intact" : "unknown";
}

describe("verdict", () => {
  it("is split-brain before lost before rollback before corrupt before unknown before intact", () => {
    fc.assert(
      fc.property(fc.array(said, { maxLength: 8 }), (all) => {
        expect(judgedBy(all.map(made)).verdict).toBe(expected(all));
      }),
      { numRuns: 1000 },
    );
  });

  it("does not depend on the order of the checks", () => {
    fc.assert(
      fc.property(fc.array(said, { minLength: 1, maxLength: 8 }), (all) => {
        const reversed = [...all].reverse().map(made);
        expect(judgedBy(reversed).verdict).toBe(judgedBy(all.map(made)).verdict);
      }),
    );
  });

  it("carries the result of every check that applies, and says in its own words why", () => {
    const all = [
      { false_means: "corrupt", says: false },
      { false_means: "lost", says: "does not apply" },
      { false_means: "lost", says: "crashes" },
    ] as const;
    const { why, checks } = judgedBy(all.map(made));
    expect(checks.map(({ check, verdict }) => [check, verdict])).toEqual([
      ["check-0", false],
      ["check-2", "unknown"],
    ]);
    expect(why).toBe("check-0 says false");
  });

  it("is not intact where no check had anything to say", () => {
    expect(judgedBy([]).verdict).toBe("unknown");
  });

  it("is not touched by what is untidy, but that is told", () => {
    const untidy = made({ false_means: "untidy", says: false }, 0);
    const well = made({ false_means: "corrupt", says: true }, 1);
    expect(judgedBy([well, untidy])).toMatchObject({ verdict: "intact", untidy: ["check-0: check-0 says false"] });
    expect(judgedBy([well, made({ false_means: "untidy", says: "unknown" }, 0)]).untidy).toHaveLength(1);
    expect(judgedBy([well]).untidy).toEqual([]);
    // What waits for ever is part of a verdict that is worse.
    const waits = made({ false_means: "unfinished", says: false }, 0);
    expect(judgedBy([well, waits])).toMatchObject({ verdict: "intact", untidy: ["check-0: check-0 says false"] });
    const bad = made({ false_means: "split-brain", says: false }, 2);
    expect(judgedBy([bad, waits, untidy]).untidy).toEqual(["check-0: check-0 says false"]);
  });

  it("of a run that broke off is unknown, and only what is left of it is looked at", () => {
    const { scenario, events, evidence } = makeCase({ evidence: { error: "no room\nat all" } });
    const { verdict, why, checks } = judge(scenario, events, evidence);
    expect([verdict, why]).toEqual(["unknown", "the harness failed: no room"]);
    expect(checks.map(({ check }) => check)).toEqual(["nothing-left"]);
  });

  it("is a function of what was written down: the same again, and the same of what was read back", () => {
    for (const seen of [makeCase(), NOTHING]) {
      const once = judge(seen.scenario, seen.events, seen.evidence);
      const read = JSON.parse(JSON.stringify(seen)) as typeof seen;
      expect(judge(read.scenario, read.events, read.evidence)).toEqual(once);
    }
  });

  it("of a run without any VM is lost, by the real checks", () => {
    expect(judgedBy(CHECKS).verdict).toBe("lost");
    expect(CHECKS.length).toBeGreaterThan(0);
  });

  it("says of an intact VM that was to be protected, and is not, what that lacks", () => {
    const holds = made({ false_means: "lost", says: true }, 0);
    const evidence = makeCase({ evidence: { unprotected: "the escrow's host is dead" } }).evidence;
    expect(judge(NOTHING.scenario, NOTHING.events, evidence, [holds])).toMatchObject({
      verdict: "intact",
      why: "all 1 checks hold; the VM is protected no more (the escrow's host is dead)",
    });
  });
});
