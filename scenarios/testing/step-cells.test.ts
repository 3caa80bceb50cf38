import { describe, expect, it } from "vitest";
import { hopelessTriggers } from "../../harness/run/hopeless.ts";
import type { Scenario, Trigger } from "../../harness/run/scenario.ts";
import { checkScenario } from "../../harness/run/scenario-schema.ts";
import { STEP_NAMES, type StepName } from "../../harness/run/steps.ts";
import { EVERY_TIME } from "../testing.ts";
import { NOT_STRUCK, STEP_CELLS } from "./step-cells.ts";

/** The steps at which something strikes; a run in which it does not strike is never as expected (check _struck_). */
function struckIn(scenarios: readonly Scenario[]): ReadonlySet<StepName> {
  const stepOf = (trigger: Trigger): readonly StepName[] => (trigger.on === "step" ? [trigger.step] : []);
  return new Set(scenarios.flatMap(({ faults }) => faults.flatMap((plan) => stepOf(plan.at))));
}

describe("every step", () => {
  const struck = struckIn([...EVERY_TIME, ...STEP_CELLS]);

  it.each(STEP_NAMES)("is struck by a fault in a run of `npm test`, or it is said why not: %s", (step) => {
    expect([step, struck.has(step)]).toEqual([step, NOT_STRUCK[step] === undefined]);
  });

  it("is struck by a cell only where no scenario does it anyway", () => {
    const before = struckIn(EVERY_TIME);
    const cells = STEP_CELLS.map((cell) => struckIn([cell]));
    expect(cells.flatMap((steps) => [...steps].filter((step) => before.has(step)))).toEqual([]);
    // And each by one of them.
    expect(new Set(cells.flatMap((steps) => [...steps])).size).toBe(cells.reduce((sum, { size }) => sum + size, 0));
  });
});

describe("cells of steps", () => {
  it.each(STEP_CELLS.map((cell) => [cell.id, cell] as const))("can be played: %s", (_, cell) => {
    expect(checkScenario(cell, cell.id)).toEqual(cell);
    expect(hopelessTriggers(cell.faults, [])).toEqual([]);
    for (const [index, { heal }] of cell.faults.entries())
      if (heal !== undefined) expect(heal).toMatchObject({ on: "fault", index });
  });
});
