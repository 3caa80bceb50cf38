import { describe, expect, it } from "vitest";
import type { RunRecord } from "../base/run-record.ts";
import { makeRecord } from "../run/make-record.ts";
import type { PlayedRun } from "./ferryman.ts";
import "./vitest.ts";

const run = (change: Partial<RunRecord> = {}, untidy: readonly string[] = []): PlayedRun => ({
  record: makeRecord(change),
  untidy,
  folder: "/runs/one",
  report: "/runs/one/index.html",
});
const ledger = { check: "ledger", verdict: false, summary: "append 1/7 is missing", evidence: ["append 1/7"] } as const;
const LOST = run({ scenario: "my-cut", verdict: "corrupt", why: "append 1/7 is missing", checks: [ledger] });
const FAULTS = [{ fault: "kill-host", on: "target", at: "30 %" }];
const struck = (verdict: boolean) => ({ check: "struck", verdict, summary: "fault 0 never struck" });

describe("vitest's expect", () => {
  it("takes an intact run for intact, and another verdict for itself", () => {
    expect(run()).toBeIntact();
    expect(LOST).not.toBeIntact();
    expect(LOST).toBeVerdict("corrupt");
  });

  it("says why, with the first evidence, the report's path and the command that runs it again", () => {
    const message = (() => {
      try {
        expect(LOST).toBeIntact();
        return "";
      } catch (error) {
        return error instanceof Error ? error.message : String(error);
      }
    })();
    expect(message).toContain("my-cut (stock): expected the verdict intact, it is corrupt: append 1/7 is missing");
    expect(message).toContain('evidence of ledger: ["append 1/7"]');
    expect(message).toContain("/runs/one/index.html");
    expect(message).toContain(LOST.record.command);
  });

  it("does not take a run for intact that left something behind", () => {
    const left = { check: "nothing-left", verdict: false, summary: "left over: ferryman-x" } as const;
    expect(run({ checks: [left] }, ["nothing-left: left over: ferryman-x"])).not.toBeIntact();
  });

  it("takes a run for what its scenario expects, or not", () => {
    expect(run({ verdict: "lost", expected: "lost" })).toBeAsExpected();
    expect(run({ as_expected: false })).not.toBeAsExpected();
  });

  it("knows whether the faults struck", () => {
    expect(run({ faults: FAULTS, checks: [struck(true)] })).toHaveStruck();
    expect(run({ faults: FAULTS, checks: [struck(false)] })).not.toHaveStruck();
    expect(run()).not.toHaveStruck();
  });
});
