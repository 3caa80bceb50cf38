import { Command, CommanderError } from "commander";
import { messageOf, UserError } from "./base/errors.ts";
import { registerBench } from "./cli/bench.ts";
import { registerClean } from "./cli/clean.ts";
import { registerDemo } from "./cli/demo.ts";
import { registerDoctor } from "./cli/doctor.ts";
import { registerExplore } from "./cli/explore.ts";
import { registerJudge } from "./cli/judge.ts";
import { registerList } from "./cli/list.ts";
import { registerLog } from "./cli/log.ts";
import { registerReplay } from "./cli/replay.ts";
import { registerReport } from "./cli/report.ts";
import { registerRun } from "./cli/run.ts";
import { registerSetup } from "./cli/setup.ts";
import { asksForVersion, versionLines } from "./cli/version.ts";

const program = new Command()
  .name("ferryman")
  .description(
    "Carries real VMs from host to host by QEMU post-copy, breaks things on the way, and judges what arrives.",
  )
  .option("-V, --version", "Ferryman, Node, engine and images")
  .exitOverride()
  .showHelpAfterError("(ferryman --help tells what there is)");

for (const register of [
  registerDoctor,
  registerList,
  registerRun,
  registerExplore,
  registerReplay,
  registerDemo,
  registerBench,
  registerReport,
  registerJudge,
  registerLog,
  registerSetup,
  registerClean,
]) {
  register(program);
}

try {
  if (asksForVersion(process.argv.slice(2))) console.log((await versionLines()).join("\n"));
  else await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? 0 : 2;
  } else {
    process.stderr.write(
      `ferryman: ${error instanceof UserError ? error.message : ((error as Error).stack ?? messageOf(error))}\n`,
    );
    process.exitCode = 2;
  }
}
