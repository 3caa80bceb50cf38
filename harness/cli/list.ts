import type { Command } from "commander";
import { EVERY_SCENARIO } from "../../scenarios/index.ts";
import { STEP_NAMES, stepOf } from "../run/steps.ts";
import { textTable } from "../run/table.ts";
import { FAULT_NAMES, usageOf } from "./fault-grammar.ts";

export function registerList(program: Command): void {
  program
    .command("list")
    .description("list the scenarios, and what is expected of them under each recovery")
    .option("--json", "one JSON object a scenario, or a step")
    .option("--faults", "the faults that --fault takes, and how each is typed")
    .option("--steps", "the steps at which a fault may strike or be healed, and when they come")
    .action(({ json, steps, faults }: { json?: boolean; steps?: boolean; faults?: boolean }) => {
      if (faults) {
        for (const name of FAULT_NAMES)
          console.log(json ? JSON.stringify({ fault: name, typed: usageOf(name) }) : usageOf(name));
        return;
      }
      if (steps) {
        listSteps(json === true);
        return;
      }
      if (json) {
        for (const scenario of EVERY_SCENARIO) console.log(JSON.stringify(scenario));
        return;
      }
      const rows = EVERY_SCENARIO.map(({ id, group, expect, title }) => [
        id,
        group,
        expect.stock ?? "-",
        expect.txsync ?? "-",
        title,
      ]);
      console.log(textTable(["scenario", "fails", "stock", "txsync", "what happens"], rows));
    });
}

function listSteps(json: boolean): void {
  const steps = STEP_NAMES.map((step) => {
    const { part, under, when, once } = stepOf(step);
    return { step, part, under, once: once === true, when };
  });
  if (json) for (const step of steps) console.log(JSON.stringify(step));
  else {
    const rows = steps.map(({ step, part, under, when }) => [step, part, under === "both" ? "" : under, when]);
    console.log(textTable(["step", "of", "only under", "when"], rows));
  }
}
