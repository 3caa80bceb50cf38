import type { Command } from "commander";
import { SCENARIOS } from "../../scenarios/index.ts";
import { textTable } from "../run/table.ts";

export function registerList(program: Command): void {
  program
    .command("list")
    .description("list the scenarios, and what is expected of them under each recovery")
    .option("--json", "one JSON object a scenario")
    .action(({ json }: { json?: boolean }) => {
      if (json) {
        for (const scenario of SCENARIOS) console.log(JSON.stringify(scenario));
        return;
      }
      const rows = SCENARIOS.map(({ id, group, expect, title }) => [
        id,
        group,
        expect.stock ?? "-",
        expect.txsync ?? "-",
        title,
      ]);
      console.log(textTable(["scenario", "fails", "stock", "txsync", "what happens"], rows));
    });
}
