import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { CheckResult } from "../base/run-record.ts";
import type { CheckVerdict, TimelineEvent } from "../base/timeline.ts";
import { afterwards } from "./afterwards.ts";
import { type Case, type Check, judged, runCheck } from "./check.ts";
import { guestSelfCheck } from "./guest-self-check.ts";
import { CHECKS } from "./index.ts";
import { ledger } from "./ledger.ts";
import { memoryModel } from "./memory-model.ts";
import { migrateAgain } from "./migrate-again.ts";
import { nothingLeft } from "./nothing-left.ts";
import { singleInstance } from "./single-instance.ts";
import { stillAudit } from "./still-audit.ts";
import {
  ABSENT,
  at,
  type CaseChange,
  entries,
  got,
  makeCase,
  moves,
  stands,
  unreadable,
  WELL_EVENTS,
} from "./testing/make-case.ts";
import { violations } from "./violations.ts";
import { vmRunning } from "./vm-running.ts";

const WELL = makeCase();
const STILL_CHANGE: CaseChange = {
  evidence: { held_still: true, progress: [stands, { ...stands, host: "target" }] },
  findings: { still: got({ blocks: [{ name: "pc.bios", pages: 64, differing: 0 }], differing: [], kvm_clocks: [] }) },
};
const STILL = makeCase(STILL_CHANGE);
const run = (check: Check, seen: Case): CheckResult => {
  const result = runCheck(check, seen);
  if (result === undefined) throw new Error(`${check.name} has nothing to say about this run`);
  return result;
};
const say = (check: Check, evidence: CaseChange["evidence"] = {}): CheckVerdict =>
  run(check, makeCase({ evidence })).verdict;
const found = (check: Check, findings: NonNullable<CaseChange["findings"]>): CheckResult =>
  run(check, makeCase({ findings }));
const ofStill = (still: object): CheckResult =>
  run(stillAudit, makeCase({ ...STILL_CHANGE, findings: { still: got(still) } }));

describe("checks", () => {
  it("call a run that came out well true, each of them that applies", () => {
    for (const seen of [WELL, STILL]) {
      const applying = CHECKS.filter((check) => check.applies(seen));
      expect(applying.length).toBeGreaterThanOrEqual(3);
      expect(applying.map((check) => run(check, seen).summary)).toHaveLength(applying.length);
      expect(applying.map((check) => run(check, seen).verdict)).toEqual(applying.map(() => true));
    }
  });

  it("have names of their own", () => {
    expect(new Set(CHECKS.map(({ name }) => name)).size).toBe(CHECKS.length);
  });

  it("ask a target that is held still for its pages and not for progress", () => {
    const names = (seen: Case): string[] => CHECKS.filter((check) => check.applies(seen)).map(({ name }) => name);
    const always = ["nothing-waits", "nothing-left"];
    expect(names(STILL)).toEqual(["agreement", "single-instance", "memory-model", "still-audit", ...always]);
    expect(names(WELL)).not.toContain("still-audit");
  });

  it("ask a guest for what it can, whatever it is called", () => {
    const of = (...can: ("memory" | "ledger" | "self-check")[]): string[] => {
      const seen = makeCase({ evidence: { guest: { kind: "one of yours", can } } });
      return CHECKS.filter((check) => check.applies(seen)).map(({ name }) => name);
    };
    const theirs = ["memory-model", "ledger", "guest-self-check"];
    expect(of("memory", "ledger", "self-check")).toEqual(expect.arrayContaining(theirs));
    expect(of("self-check").filter((name) => theirs.includes(name))).toEqual(["guest-self-check"]);
    expect(of().filter((name) => theirs.includes(name))).toEqual([]);
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
      const findings = { memory: nothing, guest: nothing, ledger: nothing, again: nothing };
      for (const check of [memoryModel, guestSelfCheck, ledger, migrateAgain]) {
        const { verdict, summary } = found(check, findings);
        expect([verdict, summary.includes(why)]).toEqual(["unknown", true]);
      }
      expect(run(stillAudit, makeCase({ ...STILL_CHANGE, findings: { still: nothing } })).verdict).toBe("unknown");
    }
  });

  it("say unknown of what was written down and is no such finding, and name the place", () => {
    const { verdict, summary } = found(memoryModel, {
      memory: got({ step: 9, pages_checked: "all", bad_count: 0, bad: [] }),
    });
    expect([verdict, summary.includes("memory.pages_checked")]).toEqual(["unknown", true]);
  });

  it("never call true what they could not see, whatever else is so", () => {
    const missing = fc.constantFrom("memory", "guest", "again", "monitors", "leftovers");
    fc.assert(
      fc.property(missing, fc.constantFrom("failed", "absent"), (what, state) => {
        const seen = makeCase({ findings: { [what]: { state, why: "gone" } as never } });
        const verdicts = CHECKS.filter((check) => check.applies(seen)).map((check) => run(check, seen).verdict);
        const nobody_asked = what === "leftovers" && state === "absent";
        expect(verdicts.filter((verdict) => verdict === "unknown")).toHaveLength(nobody_asked ? 0 : 1);
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
    expect(say(vmRunning, { progress: [{ host: "target", watched_ms: 0 }] })).toBe(false);
  });
  it("says how the owner's QEMU ended that died when the migration was over, and not how the run ended it", () => {
    const lost = { progress: [{ host: "target", watched_ms: 0 }] } as const;
    const death = at(3_010, "target", { kind: "qemu.exited", code: 134, last_lines: ["Assertion `x' failed."] });
    const over = at(3_000, "run", { kind: "run.phase", phase: "teardown" });
    const of = (...more: TimelineEvent[]): string =>
      run(vmRunning, makeCase({ evidence: lost, events: [...WELL_EVENTS, ...more] })).summary;
    expect(of(death)).toBe(
      "no instance makes progress: the migration completed, but the QEMU on target ended with code 134: Assertion `x' failed.",
    );
    expect(of(over, death)).toBe("no instance makes progress: the migration completed");
  });
  it("is unknown where nobody looked", () => expect(say(vmRunning, { progress: [] })).toBe("unknown"));
  it("is unknown where an instance could not be read and none was seen to move", () => {
    const unread = unreadable;
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
    const unread = { ...unreadable, host: "source" } as const;
    const { verdict, summary } = run(singleInstance, makeCase({ evidence: { progress: [unread, moves] } }));
    expect(verdict).toBe("unknown");
    expect(summary).toContain("source");
  });
  it("is false where two move though a third could not be read", () => {
    const unread = { ...unreadable, host: "escrow" } as const;
    expect(say(singleInstance, { progress: [unread, moves, { ...moves, host: "source" }] })).toBe(false);
  });
});

describe("memory-model", () => {
  const page = { page: 12, address: 0x40c000, expected: "content of step 3", found: "all zeros" };
  it("names the first wrong page, and hands all that were named to the report", () => {
    const result = found(memoryModel, { memory: got({ step: 9, pages_checked: 100, bad_count: 1, bad: [page] }) });
    expect(result.verdict).toBe(false);
    expect(result.summary).toContain("page 12, all zeros where content of step 3 belongs");
    expect(result.evidence).toEqual({ step: 9, wrong_pages: [page] });
  });
  it("is unknown where no page was checked", () => {
    const memory = got({ step: 9, pages_checked: 0, bad_count: 0, bad: [] });
    expect(found(memoryModel, { memory }).verdict).toBe("unknown");
  });
  it("is false for any number of bad pages", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1000 }), (bad_count) => {
        const memory = got({ step: 9, pages_checked: 1000, bad_count, bad: [page] });
        expect(found(memoryModel, { memory }).verdict).toBe(false);
      }),
    );
  });
});

describe("guest-self-check", () => {
  const itself = (change: object): CheckVerdict =>
    found(guestSelfCheck, { guest: got({ pages_checked: 5, bad_count: 0, errors: 0, first: "none", ...change }) })
      .verdict;
  it("is false for a bad page, and for an error while it worked", () => {
    expect(itself({ bad_count: 1 })).toBe(false);
    expect(itself({ errors: 1 })).toBe(false);
    expect(itself({ errors: 1, pages_checked: 0 })).toBe(false);
  });
  it("is unknown where it checked nothing", () => expect(itself({ pages_checked: 0 })).toBe("unknown"));
});

describe("ledger", () => {
  it("compares what clients were told on the timeline with what the guest's memory holds at the end", () => {
    expect(found(ledger, { ledger: entries(1, 2, 3) })).toMatchObject({
      verdict: true,
      summary: "all 3 acknowledged appends are there, once, in order",
    });
    const { verdict, summary } = found(ledger, { ledger: entries(1, 3) });
    expect([verdict, summary.includes("index")]).toEqual([false, true]);
  });
  it("is unknown where nobody found out what the ledger holds", () => {
    expect(found(ledger, { ledger: got({ client: 1 }) }).verdict).toBe("unknown");
  });
});

describe("still-audit", () => {
  const block = { name: "pc.bios", pages: 64, differing: 0 };
  it("names block and page", () => {
    const differing = [{ block: "pc.bios", page: 3, source: "00ff at byte 0", target: "01ff at byte 0" }];
    const { verdict, summary } = ofStill({ blocks: [{ ...block, differing: 1 }], differing, kvm_clocks: [] });
    expect(verdict).toBe(false);
    expect(summary).toContain("pc.bios page 3");
  });
  it("names the clock that KVM keeps, beside pages that are equal", () => {
    const kvm_clocks = [{ block: "ram0", page: 232, offset: 1408 }];
    const { verdict, summary } = ofStill({ blocks: [block], differing: [], kvm_clocks });
    expect(verdict).toBe(true);
    expect(summary).toContain("KVM keeps in ram0 page 232");
  });
  it("is unknown where no page was compared", () => {
    for (const blocks of [[], [{ ...block, pages: 0 }]])
      expect(ofStill({ blocks, differing: [], kvm_clocks: [] }).verdict).toBe("unknown");
  });
});

describe("an instance that was succeeded", () => {
  const both = { owner: "source", progress: [{ ...moves, host: "source" }, moves] } as const;

  it("is a second one, whatever its agent says, until a newer generation is seen to let output out", () => {
    expect(say(singleInstance, both)).toBe(false);
    expect(say(singleInstance, { ...both, succeeded: [] })).toBe(false);
    expect(run(singleInstance, makeCase({ evidence: { ...both, succeeded: ["target"] } }))).toMatchObject({
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
        expect(found(migrateAgain, { again }).verdict).toBe(steps_after > steps_before);
      }),
    );
  });
});

describe("nothing-left", () => {
  it("is true only where neither container nor network is left, and names what is", () => {
    fc.assert(
      fc.property(fc.array(fc.string()), fc.array(fc.string()), (containers, networks) => {
        const { verdict, evidence } = found(nothingLeft, { leftovers: got({ containers, networks }) });
        expect(verdict).toBe(containers.length + networks.length === 0);
        if (verdict === false) expect(evidence).toEqual([...containers, ...networks]);
      }),
    );
  });
  it("is unknown where the engine could not be asked", () => {
    expect(found(nothingLeft, { leftovers: { state: "failed", why: "no answer" } }).verdict).toBe("unknown");
  });
  it("says nothing where it was asked to be kept", () => {
    expect(nothingLeft.applies(makeCase({ findings: { leftovers: ABSENT } }))).toBe(false);
  });
});

describe("violations", () => {
  it("are looked for where agents are, and the first of them is told", () => {
    const gated = { gated: true };
    expect(violations.applies(WELL)).toBe(false);
    expect(say(violations, gated)).toBe(true);
    const why = (n: number): string => `record ${n} lacks page 17`;
    const events = [3, 4].map((n) => ({ at_ms: n, lane: "escrow", kind: "violation", why: why(n) }) as const);
    expect(run(violations, makeCase({ evidence: gated, events }))).toEqual({
      check: "violations",
      verdict: false,
      summary: "violation: escrow: record 3 lacks page 17 (and 1 more)",
      evidence: [`escrow: ${why(3)}`, `escrow: ${why(4)}`],
    });
    expect(violations.false_means).toBe("corrupt");
  });
});

describe("afterwards", () => {
  const memory = { step: 9, pages_checked: 5, bad_count: 0, bad: [] };
  const evidence = { afterwards: "reboot" };

  it("holds only where pages were looked at and all are right", () => {
    const of = (change: Partial<typeof memory>): CheckVerdict => {
      const value = got({ what: "reset", memory: { ...memory, ...change } });
      return run(afterwards, makeCase({ evidence, findings: { afterwards: value } })).verdict;
    };
    expect([of({}), of({ bad_count: 1 }), of({ pages_checked: 0 })]).toEqual([true, false, false]);
  });

  it("is unknown where it could not be done", () => {
    const findings = { afterwards: { state: "failed", why: "no boot" } } as const;
    expect(run(afterwards, makeCase({ evidence, findings })).verdict).toBe("unknown");
    expect(afterwards.applies(makeCase({ findings }))).toBe(false);
  });
});
