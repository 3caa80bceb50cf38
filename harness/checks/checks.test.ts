import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { CheckResult } from "../base/run-record.ts";
import type { CheckVerdict } from "../base/timeline.ts";
import { type Check, judged, runCheck } from "./check.ts";
import type { Evidence, Gathered, ProgressSample } from "./evidence.ts";
import { guestSelfCheck } from "./guest-self-check.ts";
import { CHECKS } from "./index.ts";
import { ledger } from "./ledger.ts";
import { memoryModel } from "./memory-model.ts";
import { migrateAgain } from "./migrate-again.ts";
import { nothingLeft } from "./nothing-left.ts";
import { singleInstance } from "./single-instance.ts";
import { stillAudit } from "./still-audit.ts";
import { vmRunning } from "./vm-running.ts";

const ABSENT = { state: "absent", why: "not asked" } as const;
const got = <T>(value: T): Gathered<T> => ({ state: "got", value });
const stands: ProgressSample = { host: "source", before: 7, after: 7, watched_ms: 500 };
const moves: ProgressSample = { host: "target", before: 7, after: 9, watched_ms: 50 };

/** Evidence of a run that came out well. */
const WELL: Evidence = {
  guest_kind: "integrity",
  held_still: false,
  owner: "target",
  settled: "the migration completed",
  progress: [stands, moves],
  memory: got({ step: 9, pages_checked: 100, bad_count: 0, bad: [] }),
  guest: got({ pages_checked: 100, bad_count: 0, errors: 0, first: "none" }),
  ledger: got({
    verdict: true,
    summary: "all there",
    evidence: [],
    acknowledged_appends: 3,
    unknown_appends: 0,
    unknown_done: 0,
  }),
  still: ABSENT,
  again: got({ from: "target", to: "source", steps_before: 9, steps_after: 12 }),
};
const STILL: Evidence = {
  ...WELL,
  held_still: true,
  progress: [stands, { ...stands, host: "target" }],
  guest: ABSENT,
  ledger: ABSENT,
  again: ABSENT,
  still: got({ blocks: [{ name: "pc.bios", pages: 64, differing: 0 }], differing: [], kvm_clocks: [] }),
};
const run = (check: Check, evidence: Evidence): CheckResult => {
  const result = runCheck(check, evidence);
  if (result === undefined) throw new Error(`${check.name} has nothing to say about this evidence`);
  return result;
};
const say = (check: Check, change: Partial<Evidence>, base = WELL): CheckVerdict =>
  run(check, { ...base, ...change }).verdict;

describe("checks", () => {
  it("call a run that came out well true, each of them that applies", () => {
    for (const evidence of [WELL, STILL]) {
      const applying = CHECKS.filter((check) => check.applies(evidence));
      expect(applying.length).toBeGreaterThanOrEqual(3);
      expect(applying.map((check) => run(check, evidence).verdict)).toEqual(applying.map(() => true));
    }
  });

  it("have names of their own", () => {
    expect(new Set(CHECKS.map(({ name }) => name)).size).toBe(CHECKS.length);
  });

  it("ask a target that is held still for its pages and not for progress", () => {
    const names = (evidence: Evidence): string[] =>
      CHECKS.filter((check) => check.applies(evidence)).map(({ name }) => name);
    expect(names(STILL)).toEqual(["single-instance", "memory-model", "still-audit"]);
    expect(names({ ...STILL, guest_kind: "linux" })).toEqual(["single-instance", "still-audit"]);
    expect(names(WELL)).not.toContain("still-audit");
    expect(names({ ...WELL, guest_kind: "linux" })).not.toContain("memory-model");
    expect(names({ ...WELL, guest_kind: "linux" })).not.toContain("ledger");
  });

  it("say unknown when they crash, with what they crashed of", () => {
    const crashing: Check = {
      ...memoryModel,
      judge: () => {
        throw new Error("no such page");
      },
    };
    expect(run(crashing, WELL)).toEqual({
      check: "memory-model",
      verdict: "unknown",
      summary: "the check crashed: Error: no such page",
    });
  });

  it("say unknown of what could not be looked at, and why", () => {
    const why = "the shell on target is gone";
    for (const state of ["failed", "absent"] as const) {
      const nothing = { state, why };
      expect(judged(nothing, () => ({ verdict: true, summary: "" }))).toMatchObject({ verdict: "unknown" });
      const evidence = { ...WELL, memory: nothing, guest: nothing, ledger: nothing, again: nothing };
      for (const check of [memoryModel, guestSelfCheck, ledger, migrateAgain]) {
        const { verdict, summary } = run(check, evidence);
        expect([verdict, summary.includes(why)]).toEqual(["unknown", true]);
      }
      expect(say(stillAudit, { still: nothing }, STILL)).toBe("unknown");
    }
  });

  it("never call true what they could not see, whatever else is so", () => {
    const missing = fc.constantFrom("memory", "guest", "ledger", "again");
    fc.assert(
      fc.property(missing, fc.constantFrom("failed", "absent"), (what, state) => {
        const evidence = { ...WELL, [what]: { state, why: "gone" } } as Evidence;
        const verdicts = CHECKS.filter((check) => check.applies(evidence)).map((check) => run(check, evidence).verdict);
        expect(verdicts.filter((verdict) => verdict === "unknown")).toHaveLength(1);
      }),
    );
  });
});

describe("vm-running", () => {
  it("is true where the owner moves", () => expect(say(vmRunning, {})).toBe(true));
  it("is true where another than the owner moves: that is for the other checks to find", () => {
    expect(say(vmRunning, { owner: "none" })).toBe(true);
    expect(say(vmRunning, { owner: "source" })).toBe(true);
  });
  it("is false where nobody moves", () => {
    expect(say(vmRunning, { progress: [stands] })).toBe(false);
    expect(say(vmRunning, { progress: [{ host: "target", before: undefined, after: undefined, watched_ms: 0 }] })).toBe(
      false,
    );
  });
  it("is unknown where nobody looked", () => expect(say(vmRunning, { progress: [] })).toBe("unknown"));
  it("is unknown where an instance could not be read and none was seen to move", () => {
    const unread: ProgressSample = {
      host: "target",
      before: undefined,
      after: undefined,
      watched_ms: 6000,
      failed: "the shell on target is gone",
    };
    expect(say(vmRunning, { progress: [stands, unread] })).toBe("unknown");
    expect(say(vmRunning, { progress: [unread, { ...moves, host: "source" }] })).toBe(true);
  });
  it("does not take a counter that went back for progress", () => {
    expect(say(vmRunning, { progress: [{ host: "target", before: 9, after: 7, watched_ms: 500 }] })).toBe(false);
  });
});

describe("single-instance", () => {
  const samples = fc.array(
    fc.record({
      host: fc.constantFrom("source" as const, "target" as const, "escrow" as const),
      before: fc.option(fc.nat(5), { nil: undefined }),
      after: fc.option(fc.nat(5), { nil: undefined }),
      watched_ms: fc.constant(500),
    }),
    { minLength: 1, maxLength: 3 },
  );
  it("is false exactly where two move", () => {
    fc.assert(
      fc.property(samples, (progress) => {
        const moving = progress.filter(({ before = 9, after = 0 }) => after > before).length;
        expect(say(singleInstance, { progress })).toBe(moving <= 1);
      }),
    );
  });
  it("is unknown where nobody looked", () => expect(say(singleInstance, { progress: [] })).toBe("unknown"));
  it("is unknown where an instance could not be read, for it may be a second one", () => {
    const unread: ProgressSample = {
      host: "source",
      before: undefined,
      after: undefined,
      watched_ms: 500,
      failed: "no answer",
    };
    const { verdict, summary } = run(singleInstance, { ...WELL, progress: [unread, moves] });
    expect(verdict).toBe("unknown");
    expect(summary).toContain("source");
  });
  it("is false where two move though a third could not be read", () => {
    const unread: ProgressSample = {
      host: "escrow",
      before: undefined,
      after: undefined,
      watched_ms: 500,
      failed: "no answer",
    };
    expect(say(singleInstance, { progress: [unread, moves, { ...moves, host: "source" }] })).toBe(false);
  });
});

describe("memory-model", () => {
  const page = { page: 12, address: 0x40c000, expected: "content of step 3", found: "all zeros" };
  it("names the first wrong page, and hands all that were named to the report", () => {
    const result = run(memoryModel, {
      ...WELL,
      memory: got({ step: 9, pages_checked: 100, bad_count: 1, bad: [page] }),
    });
    expect(result.verdict).toBe(false);
    expect(result.summary).toContain("page 12, all zeros where content of step 3 belongs");
    expect(result.evidence).toEqual({ step: 9, wrong_pages: [page] });
  });
  it("is unknown where no page was checked", () => {
    expect(say(memoryModel, { memory: got({ step: 9, pages_checked: 0, bad_count: 0, bad: [] }) })).toBe("unknown");
  });
  it("is false for any number of bad pages", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1000 }), (bad_count) => {
        expect(say(memoryModel, { memory: got({ step: 9, pages_checked: 1000, bad_count, bad: [page] }) })).toBe(false);
      }),
    );
  });
});

describe("guest-self-check", () => {
  const found = (change: object): CheckVerdict =>
    say(guestSelfCheck, { guest: got({ pages_checked: 5, bad_count: 0, errors: 0, first: "none", ...change }) });
  it("is false for a bad page, and for an error while it worked", () => {
    expect(found({ bad_count: 1 })).toBe(false);
    expect(found({ errors: 1 })).toBe(false);
    expect(found({ errors: 1, pages_checked: 0 })).toBe(false);
  });
  it("is unknown where it checked nothing", () => expect(found({ pages_checked: 0 })).toBe("unknown"));
});

describe("ledger", () => {
  it.each([true, false, "unknown"] as const)("passes on what the history says: %s", (verdict) => {
    const history = { verdict, summary: "so it is", evidence: ["a line"], acknowledged_appends: 1 };
    const result = run(ledger, { ...WELL, ledger: got({ ...history, unknown_appends: 0, unknown_done: 0 }) });
    expect(result).toEqual({ check: "ledger", verdict, summary: "so it is", evidence: ["a line"] });
  });
});

describe("still-audit", () => {
  const block = { name: "pc.bios", pages: 64, differing: 0 };
  it("names block and page", () => {
    const differing = [{ block: "pc.bios", page: 3, source: "00ff at byte 0", target: "01ff at byte 0" }];
    const still = got({ blocks: [{ ...block, differing: 1 }], differing, kvm_clocks: [] });
    const { verdict, summary } = run(stillAudit, { ...STILL, still });
    expect(verdict).toBe(false);
    expect(summary).toContain("pc.bios page 3");
  });
  it("names the clock that KVM keeps, beside pages that are equal", () => {
    const still = got({ blocks: [block], differing: [], kvm_clocks: [{ block: "ram0", page: 232, offset: 1408 }] });
    const { verdict, summary } = run(stillAudit, { ...STILL, still });
    expect(verdict).toBe(true);
    expect(summary).toContain("KVM keeps in ram0 page 232");
  });
  it("is unknown where no page was compared", () => {
    expect(say(stillAudit, { still: got({ blocks: [], differing: [], kvm_clocks: [] }) }, STILL)).toBe("unknown");
    expect(
      say(stillAudit, { still: got({ blocks: [{ ...block, pages: 0 }], differing: [], kvm_clocks: [] }) }, STILL),
    ).toBe("unknown");
  });
});

describe("an instance that was succeeded", () => {
  const both = { owner: "source", progress: [{ ...moves, host: "source" }, moves] } as const;

  it("is a second one, whatever its agent says, until a newer generation is seen to let output out", () => {
    expect(say(singleInstance, both)).toBe(false);
    expect(say(singleInstance, { ...both, succeeded: [] })).toBe(false);
    expect(run(singleInstance, { ...WELL, ...both, succeeded: ["target"] })).toMatchObject({
      verdict: true,
      summary: "one instance, on source",
    });
  });

  it("does not take the owner with it", () => {
    expect(say(singleInstance, { ...both, succeeded: ["source"] })).toBe(false);
    expect(say(vmRunning, { ...both, succeeded: ["source", "target"] })).toBe(true);
  });

  it("is not told from the owner where that lets nothing out", () => {
    expect(say(singleInstance, { ...both, succeeded: "unheard" })).toBe("unknown");
  });
});

describe("migrate-again", () => {
  it("is true exactly where the guest went on", () => {
    fc.assert(
      fc.property(fc.nat(100), fc.nat(100), (steps_before, steps_after) => {
        const again = got({ from: "target", to: "escrow", steps_before, steps_after } as const);
        expect(say(migrateAgain, { again })).toBe(steps_after > steps_before);
      }),
    );
  });
});

describe("nothing-left", () => {
  it("is true only where neither container nor network is left, and names what is", () => {
    fc.assert(
      fc.property(fc.array(fc.string()), fc.array(fc.string()), (containers, networks) => {
        const { verdict, evidence } = nothingLeft(got({ containers, networks }));
        expect(verdict).toBe(containers.length + networks.length === 0);
        if (verdict === false) expect(evidence).toEqual([...containers, ...networks]);
      }),
    );
  });
  it("is unknown where the engine could not be asked", () => {
    expect(nothingLeft({ state: "failed", why: "no answer" }).verdict).toBe("unknown");
  });
});
