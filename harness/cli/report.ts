import { spawn } from "node:child_process";
import { join, resolve } from "node:path";
import { type Command, InvalidArgumentError } from "commander";
import { serveFolder } from "../../reports/serve.ts";
import { writeSuite } from "../../reports/suite.ts";
import { writeReports } from "../../reports/write.ts";
import { UserError } from "../base/errors.ts";
import { mergeParts, partsIn } from "../explore/merge.ts";
import { RUNS_FOLDER } from "../run/prepare.ts";
import { doubtsOf } from "./doubts.ts";
import { stamp } from "./stamp.ts";

interface ReportFlags {
  readonly open?: boolean;
  readonly serve?: boolean;
  readonly port: number;
  readonly against?: string;
}

/** `report <folder>`: makes the reports of a run, a suite or a folder of runs again, from what lies in it alone. */
export function registerReport(program: Command): void {
  const command = program
    .command("report")
    .description(
      "make the reports of a run, a suite or a folder of runs again, from what lies in it alone; exit code 0: of all of it, 1: something could not be read, or its verdict does not follow from its evidence, 2: there is nothing to make them of",
    )
    .argument("<folder>", "a run's folder, a suite's folder, or a folder of runs such as reports/runs")
    .option("--against <folder>", "an earlier suite: show what changed since")
    .option("--open", "open the report in the browser")
    .option("--serve", "serve the folder on the loopback address until Ctrl-C")
    .option("--port <number>", "port for --serve, 0 for any that is free", parsePort, 0)
    .action(report);
  command
    .command("merge")
    .description(
      "make one suite of the parts of a campaign that many machines ran; exit code 0: whole, and all as expected",
    )
    .argument("<folder...>", "what each machine left, or folders that hold that")
    .option("--into <folder>", "where the suite goes; default is a new folder under reports/runs")
    .action(mergeFolders);
}

async function mergeFolders(folders: readonly string[], { into }: { readonly into?: string }): Promise<void> {
  const parts = await partsIn(folders);
  const { done, missing } = mergeParts(parts);
  if (done.length === 0) throw new UserError(["No run is there that ended.", ...missing].join(" "));
  const folder = into ?? join(RUNS_FOLDER, `merged-${stamp(new Date())}`);
  const started_at = parts.map(({ campaign }) => campaign.started_at).sort()[0];
  await writeSuite(
    folder,
    done.map((run) => resolve(run.folder)),
    { missing, ...(started_at === undefined ? {} : { started_at }) },
  );
  const how = { stepSummary: true, rewriteRuns: false, doubts: doubtsOf };
  const { files, problems } = await writeReports(folder, how);
  for (const file of files) process.stdout.write(`${file}\n`);
  for (const line of missing) process.stderr.write(`missing: ${line}\n`);
  sayNotWhole(problems.filter((problem) => !missing.includes(problem)));
  const wrong = done.filter(({ as_expected }) => !as_expected);
  process.stderr.write(
    `${done.length} runs of ${parts.length} parts, ${wrong.length} not as expected${problems.length === 0 ? "" : ", and not whole"}\n`,
  );
  process.exitCode = wrong.length === 0 && problems.length === 0 ? 0 : 1;
}

async function report(folder: string, flags: ReportFlags): Promise<void> {
  const { index, files, problems } = await writeReports(folder, {
    ...(flags.against === undefined ? {} : { against: flags.against }),
    stepSummary: true,
    doubts: doubtsOf,
  });
  for (const file of files) process.stdout.write(`${file}\n`);
  sayNotWhole(problems);
  process.exitCode = problems.length === 0 ? 0 : 1;
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

/** How many of what is not whole are said; the page has all. */
const SAID_MAX = 20;

function sayNotWhole(problems: readonly string[]): void {
  for (const problem of problems.slice(0, SAID_MAX)) process.stderr.write(`not whole: ${problem}\n`);
  if (problems.length > SAID_MAX) process.stderr.write(`not whole: … and ${problems.length - SAID_MAX} more\n`);
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
