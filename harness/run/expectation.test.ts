import { describe, expect, it } from "vitest";
import type { RunTimings } from "../base/run-record.ts";
import type { TimelineEvent } from "../base/timeline.ts";
import { answersKept, expectedOf, limitsKept } from "./expectation.ts";
import { PURE_POSTCOPY, type Scenario } from "./scenario.ts";

const scenario: Scenario = {
  id: "s",
  group: "own",
  title: "s",
  guests: ["integrity"],
  migration: PURE_POSTCOPY,
  faults: [],
  expect: { stock: "lost", txsync: "intact" },
};
const timings: RunTimings = { total_ms: 9_000, detect_ms: 450, downtime_ms: 1_800 };

describe("what ought to come out", () => {
  const by_version: Scenario = {
    ...scenario,
    expect_on: [
      { under: "stock", from: "10.2", verdict: "intact", why: "it goes back to the source" },
      { under: "stock", before: "8.0", verdict: "corrupt", why: "old" },
    ],
  };

  it.each([
    ["stock", "11.1.3 (Debian 1:11.1.3)", "intact", "it goes back to the source"],
    ["stock", "10.2.0", "intact", "it goes back to the source"],
    ["stock", "10.0.13 (Debian 1:10.0.13+ds-0+deb13u1)", "lost", undefined],
    ["stock", "7.2.19", "corrupt", "old"],
    ["txsync", "11.1.3", "intact", undefined],
    ["stock", "mine", "lost", undefined],
  ] as const)("%s with QEMU %s: %s", (recovery, version, verdict, why) => {
    const expected = expectedOf(by_version, { recovery, qemu_version: version });
    expect([expected.verdict, expected.why]).toEqual([verdict, why]);
  });

  it("may depend on the target's version, and on what drives the migration", () => {
    const depends: Scenario = {
      ...scenario,
      expect_on: [
        { under: "stock", before: "11.0", target_from: "11.0", verdict: "intact", why: "pair" },
        { under: "stock", managers: ["none", "libvirt"], verdict: "corrupt", why: "manager" },
      ],
    };
    const of = (more: Partial<Parameters<typeof expectedOf>[1]>) =>
      expectedOf(depends, { recovery: "stock", qemu_version: "10.0.13", ...more }).why;
    expect(of({ target_version: "11.1.3", manager: "none" })).toBe("pair");
    expect(of({ manager: "libvirt" })).toBe("manager");
    expect(of({ manager: "libvirt", qemu_version: "mine" })).toBe("manager");
    expect(of({ manager: "qmp" })).toBeUndefined();
    expect(of({})).toBeUndefined();
    expect(of({ recovery: "txsync", manager: "none" })).toBeUndefined();
  });

  it("is unknown where the scenario has no word for the recovery", () => {
    expect(
      expectedOf({ ...scenario, expect: { txsync: "intact" } }, { recovery: "stock", qemu_version: "10.0.1" }),
    ).toEqual({
      verdict: "unknown",
    });
  });
});

describe("limits", () => {
  const kept = (...limits: NonNullable<Scenario["limits"]>) => limitsKept({ ...scenario, limits }, "txsync", timings);

  it("are not there, or kept, or broken by what they say", () => {
    expect(limitsKept(scenario, "txsync", timings)).toBeUndefined();
    expect(kept({ of: "stillness", most: 2_000 }, { of: "detect", most: 450 })).toMatchObject({
      check: "limits",
      verdict: true,
    });
    expect(kept({ of: "stillness", most: 2_000 }, { of: "detect", most: 400 })).toMatchObject({
      verdict: false,
      summary: "detection is 450 ms, at most 400 ms",
    });
  });

  it("are not kept by what was never seen", () => {
    expect(kept({ of: "recover", most: 60_000 })).toMatchObject({
      verdict: false,
      summary: "recovery is not there, at most 60000 ms",
    });
  });

  it("may be those of one recovery", () => {
    expect(kept({ of: "detect", most: 1, under: "stock" })).toBeUndefined();
  });
});

describe("answers of monitors", () => {
  const asking = (answer?: "in-time" | "never" | "either"): Scenario => ({
    ...scenario,
    faults: [
      {
        fault: { fault: "qmp", host: "target", command: "stop", ...(answer === undefined ? {} : { answer }) },
        at: { on: "step", step: "postcopy-paused" },
      },
    ],
  });
  const answer = (answered: boolean): TimelineEvent => ({
    at_ms: 1,
    lane: "target",
    kind: "qmp.answer",
    id: "fault-0",
    command: "stop",
    answered,
    answer_ms: 12.4,
  });

  it("are judged by what the fault says of them", () => {
    const verdicts = ([undefined, "never", "either"] as const).map((expected) => [
      answersKept(asking(expected), [answer(true)])?.verdict,
      answersKept(asking(expected), [answer(false)])?.verdict,
    ]);
    expect(verdicts).toEqual([
      [true, false],
      [false, true],
      [true, true],
    ]);
    expect(answersKept(asking(), [answer(true)])?.summary).toBe("stop on target was answered after 12 ms");
  });

  it("are unknown where nobody was asked, and no question where no fault asks", () => {
    expect(answersKept(asking(), [])).toMatchObject({ verdict: "unknown", summary: "stop on target was never asked" });
    expect(answersKept(scenario, [answer(true)])).toBeUndefined();
  });
});
