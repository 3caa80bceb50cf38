import { spawn } from "node:child_process";
import { type Command, InvalidArgumentError } from "commander";
import { serveFolder } from "../../reports/serve.ts";
import { writeReports } from "../../reports/write.ts";
import { UserError } from "../base/errors.ts";

interface ReportFlags {
  readonly open?: boolean;
  readonly serve?: boolean;
  readonly port: number;
  readonly against?: string;
}

/** `report <folder>`: makes the reports of a run, a suite or a folder of runs again, from the timelines alone. */
export function registerReport(program: Command): void {
  program
    .command("report")
    .description("make the reports of a run, a suite or a folder of runs again, from the timelines alone")
    .argument("<folder>", "a run's folder, a suite's folder, or a folder of runs such as reports/runs")
    .option("--against <folder>", "an earlier suite: show what changed since")
    .option("--open", "open the report in the browser")
    .option("--serve", "serve the folder on the loopback address until Ctrl-C")
    .option("--port <number>", "port for --serve, 0 for any that is free", parsePort, 0)
    .action(report);
}

async function report(folder: string, flags: ReportFlags): Promise<void> {
  const { index, files } = await writeReports(folder, {
    ...(flags.against === undefined ? {} : { against: flags.against }),
    stepSummary: true,
  });
  for (const file of files) process.stdout.write(`${file}\n`);
  if (flags.serve !== true) {
    if (flags.open === true) await openInBrowser(index);
    return;
  }
  await using server = await serveFolder(folder, flags.port);
  process.stdout.write(`serving ${folder} on ${server.url}, Ctrl-C ends it\n`);
  if (flags.open === true) await openInBrowser(server.url);
  await new Promise<void>((done) => {
    process.once("SIGINT", () => done());
    process.once("SIGTERM", () => done());
  });
}

/** @throws UserError when this machine has nothing that opens a page. */
async function openInBrowser(target: string): Promise<void> {
  const [command, ...before] =
    process.platform === "darwin" ? ["open"] : process.platform === "win32" ? ["cmd", "/c", "start", ""] : ["xdg-open"];
  await new Promise<void>((done, fail) => {
    const child = spawn(command ?? "xdg-open", [...before, target], { stdio: "ignore", detached: true });
    child.once("error", () =>
      fail(new UserError(`cannot open a browser: ${command} is not there. Open ${target} yourself.`)),
    );
    child.once("spawn", () => {
      child.unref();
      done();
    });
  });
}

function parsePort(text: string): number {
  const port = Number(text);
  if (!Number.isInteger(port) || port < 0 || port > 65_535)
    throw new InvalidArgumentError("a port is a whole number from 0 to 65535");
  return port;
}
