import { readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { EVERY_SCENARIO as SCENARIOS } from "../../scenarios/index.ts";
import { FAULTS, whereOf } from "../faults/index.ts";
import type { Scenario } from "./scenario.ts";

const FOLDER = join(import.meta.dirname, "..", "..", "scenarios");
const GROUPS = ["source", "target", "escrow", "network", "double", "controls", "findings"];
const PROMISED = [
  "no-fault",
  "source-qemu-killed",
  "source-host-killed",
  "target-qemu-killed",
  "target-host-killed",
  "link-cut-healed",
  "link-cut-silent-healed",
  "link-cut-for-good",
  "link-slow",
  "source-frozen",
  "target-frozen",
  "target-killed-before-switchover",
  "source-killed-before-switchover",
  "still-audit",
  "escrow-link-blinks",
  "generation-changes-during-take",
];

/** group/id of every scenario file there is. */
const files = GROUPS.flatMap((group) =>
  readdirSync(join(FOLDER, group))
    .filter((name) => name.endsWith(".ts") && !name.endsWith(".test.ts") && name !== "index.ts")
    .map((name) => `${group}/${name.slice(0, -3)}`),
);

describe("the list of scenarios", () => {
  it("names every file of the scenario folders once, and each stands in the folder of its group under its own id", () => {
    expect(SCENARIOS.map(({ group, id }) => `${group}/${id}`).sort()).toEqual([...files].sort());
    expect(new Set(SCENARIOS.map(({ id }) => id)).size).toBe(SCENARIOS.length);
  });

  it("has those that were promised", () => {
    const ids = SCENARIOS.map(({ id }) => id);
    expect(PROMISED.filter((id) => !ids.includes(id))).toEqual([]);
  });

  it.each(SCENARIOS.map((scenario) => [scenario.id, scenario] as const))("%s is plain data", (_, scenario) => {
    expect(JSON.parse(JSON.stringify(scenario))).toEqual(scenario);
    expect(scenario.title).not.toMatch(/\n/);
    expect(scenario.guests.length).toBeGreaterThan(0);
    expect(scenario.migration.bandwidth_bytes_per_s).toBeGreaterThan(0);
  });

  it.each(faulty())("%s: its faults are known, and their triggers can fire", (_, scenario) => {
    for (const { fault, at, heal } of scenario.faults) {
      expect(Object.keys(FAULTS)).toContain(fault.fault);
      expect(whereOf(fault)).not.toBe("");
      for (const trigger of heal ? [at, heal] : [at]) {
        if (trigger.on === "healed") expect(scenario.faults[trigger.index]?.heal).toBeDefined();
        if (trigger.on === "fault") expect(scenario.faults[trigger.index]).toBeDefined();
        if (trigger.on === "pages") expect([trigger.percent > 0, trigger.percent <= 100]).toEqual([true, true]);
        if (trigger.after_ms !== undefined) expect(trigger.after_ms).toBeGreaterThan(0);
      }
    }
  });

  it("expects nothing worse of txsync than of stock", () => {
    const rank = { intact: 0, unknown: 1, corrupt: 2, rollback: 3, lost: 4, "split-brain": 5 };
    for (const { expect: expected, group } of SCENARIOS) {
      if (expected.stock === undefined) expect(expected.txsync).toBe("intact");
      // What is about QEMU or libvirt alone says nothing of txsync.
      else if (expected.txsync !== undefined || group !== "findings")
        expect(rank[expected.txsync ?? "unknown"]).toBeLessThanOrEqual(rank[expected.stock]);
    }
  });
});

function faulty(): readonly (readonly [string, Scenario])[] {
  return SCENARIOS.filter(({ faults }) => faults.length > 0).map((scenario) => [scenario.id, scenario]);
}
