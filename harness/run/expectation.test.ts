import { describe, expect, it } from "vitest";
import { expectedOf, limitsUnder } from "./expectation.ts";
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

it("has the limits of the recovery that is under test, and those of any", () => {
  const limits = [
    { of: "detect", most: 1, under: "stock" },
    { of: "stillness", most: 2 },
  ] as const;
  expect(limitsUnder({ limits }, "stock")).toHaveLength(2);
  expect(limitsUnder({ limits }, "txsync")).toEqual([{ of: "stillness", most: 2 }]);
  expect(limitsUnder({}, "txsync")).toEqual([]);
});
