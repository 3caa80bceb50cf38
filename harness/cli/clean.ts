import type { Command } from "commander";
import { UserError } from "../base/errors.ts";
import { clean } from "../fleet/clean.ts";
import { findEngine } from "../fleet/engine.ts";

export function registerClean(program: Command): void {
  program
    .command("clean")
    .description("remove what runs that ended badly have left behind")
    .option("--all", "also what was kept, and what belongs to runs that are going on")
    .option("--run <name>", "whatever belongs to this one run: the name of its folder")
    .action(async ({ all, run }: { all?: boolean; run?: string }) => {
      const docker = await findEngine();
      if (!docker) throw new UserError("No container engine answers, so there is nothing that could be cleaned.");
      const { containers, networks } = await clean(docker, {
        all: all === true,
        ...(run === undefined ? {} : { run }),
      });
      for (const name of [...containers, ...networks]) console.log(`removed ${name}`);
      if (containers.length + networks.length === 0) console.log("nothing was left behind");
    });
}
