import { Command, CommanderError } from "commander";
import { messageOf, UserError } from "../base/errors.ts";
import { registerBench } from "./bench.ts";
import { registerClean } from "./clean.ts";
import { registerDemo } from "./demo.ts";
import { registerDoctor } from "./doctor.ts";
import { registerExplore } from "./explore.ts";
import { registerJudge } from "./judge.ts";
import { registerList } from "./list.ts";
import { registerLog } from "./log.ts";
import { registerReplay } from "./replay.ts";
import { registerReport } from "./report.ts";
import { registerRun } from "./run.ts";
import { registerSetup } from "./setup.ts";
import { asksForVersion, versionLines } from "./version.ts";

/** The command line, fresh: a parsed command keeps what it was given. */
function commandLine(): Command {
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
  return program;
}

/**
 * Does what the words say, as the command line of the same words does; what goes wrong is told on standard error.
 * @param words without the program's name
 * @returns 2 where they are wrong or cannot be done here, 0 where only help was asked for; undefined where a command was
 * carried out: it has set the process's exit code itself
 */
export async function carryOut(words: readonly string[]): Promise<number | undefined> {
  try {
    if (asksForVersion(words)) console.log((await versionLines()).join("\n"));
    else await commandLine().parseAsync(words, { from: "user" });
    return undefined;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    process.stderr.write(
      `ferryman: ${error instanceof UserError ? error.message : ((error as Error).stack ?? messageOf(error))}\n`,
    );
    return 2;
  }
}
