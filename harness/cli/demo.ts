import type { Command } from "commander";
import { SCENARIOS } from "../../scenarios/index.ts";
import type { Recovery, RunRecord } from "../base/run-record.ts";
import { DEFAULT_QEMU } from "../fleet/images.ts";
import { say } from "../run/prepare.ts";
import { textTable } from "../run/table.ts";
import { examine, findingsTable } from "./doctor.ts";
import { interruptible } from "./interrupt.ts";
import { qemuName } from "./options.ts";
import { runScenarios } from "./run.ts";

/** One that succeeds, and the three failures of the paper: source, target, network. */
const SHOWN = ["no-fault", "source-host-killed", "target-host-killed", "link-cut-for-good"];

/** What became of each VM under stock QEMU, and under transaction synchronisation. */
function sideBySide(records: readonly RunRecord[]): string {
  const of = (id: string, recovery: Recovery): RunRecord | undefined =>
    records.find((record) => record.scenario === id && record.recovery === recovery);
  const time = (ms: number | undefined): string => (ms === undefined ? "-" : `${ms} ms`);
  const rows = SHOWN.map((id) => {
    const [stock, txsync] = [of(id, "stock"), of(id, "txsync")];
    const { detect_ms, recover_ms, downtime_ms } = txsync?.timings ?? {};
    return [id, stock?.verdict ?? "-", txsync?.verdict ?? "-", time(detect_ms), time(recover_ms), time(downtime_ms)];
  });
  return textTable(["scenario", "stock", "txsync", "detected", "restored", "longest stillness"], rows);
}

export function registerDemo(program: Command): void {
  program
    .command("demo")
    .description("the demonstration: a migration that works, then the source, the target and the network fail")
    .option("--qemu <name>", "QEMU version, or an image of your own", qemuName, DEFAULT_QEMU)
    .action(({ qemu }: { qemu: string }) =>
      interruptible(async (signal) => {
        say("Ferryman carries a VM over by post-copy, breaks something on the way, and judges what arrives.");
        say(`${findingsTable(await examine(qemu))}\n`);
        const scenarios = SHOWN.flatMap((id) =>
          SCENARIOS.filter((scenario) => scenario.id === id).map((scenario) => ({ scenario, named: id })),
        );
        const options = {
          recovery: "both",
          accel: "auto",
          qemu,
          memory: 128,
          repeat: 1,
          jobs: 1,
        } as const;
        const records = await runScenarios(scenarios, options, signal);
        console.log(`\n${sideBySide(records)}`);
        console.log(
          '\n"lost" is what stock QEMU is expected to do with a guest that fails in the post-copy phase; txsync brings it back.',
        );
        process.exitCode = records.every(({ as_expected }) => as_expected) ? 0 : 1;
      }),
    );
}
