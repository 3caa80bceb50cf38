import type { Command } from "commander";
import { SCENARIOS } from "../../scenarios/index.ts";
import { DEFAULT_QEMU } from "../fleet/images.ts";
import { examine, findingsTable } from "./doctor.ts";
import { interruptible } from "./interrupt.ts";
import { qemuName } from "./options.ts";
import { say } from "./prepare.ts";
import { runScenarios } from "./run.ts";

/** One that succeeds, and the three failures of the paper: source, target, network. */
const SHOWN = ["no-fault", "source-host-killed", "target-host-killed", "link-cut-for-good"];

export function registerDemo(program: Command): void {
  program
    .command("demo")
    .description("the demonstration: a migration that works, then the source, the target and the network fail")
    .option("--qemu <name>", "QEMU version, or an image of your own", qemuName, DEFAULT_QEMU)
    .action(({ qemu }: { qemu: string }) =>
      interruptible(async (signal) => {
        say("Ferryman carries a VM over by post-copy, breaks something on the way, and judges what arrives.");
        say(`${findingsTable(await examine(qemu))}\n`);
        const scenarios = SHOWN.flatMap((id) => SCENARIOS.filter((scenario) => scenario.id === id));
        const options = { recovery: "stock", accel: "auto", qemu, memory: 128, repeat: 1, jobs: 1 } as const;
        const records = await runScenarios(scenarios, options, signal);
        console.log('\n"lost" is what stock QEMU is expected to do with a guest that fails in the post-copy phase.');
        process.exitCode = records.every(({ as_expected }) => as_expected) ? 0 : 1;
      }),
    );
}
