import { isMainThread, workerData } from "node:worker_threads";
import { messageOf, UserError } from "../../base/errors.ts";
import { fewLines } from "../../base/few-lines.ts";
import { runDataPlane } from "../data/index.ts";
import { DiskDaemon, daemonConfigSchema, daemonIsThere, serveStorage } from "../disk/index.ts";
import { Agent } from "./agent.ts";
import { loadConfig } from "./config.ts";
import { disksGoFirst } from "./process.ts";
import { startHere } from "./starter.ts";
import { runStarter, STARTER } from "./starter-thread.ts";

/**
 * The agent's program: `node agent.mjs CONFIG.json`. Ends only when it is killed, or must not go on. The same file is the
 * daemon of a host's disks, which agents start (`disks CONFIG HELPER`), and the server of a storage host (`storage FOLDER PORT`).
 */
async function main(): Promise<void> {
  const [path, what = "", more = ""] = process.argv.slice(2);
  if (path === "disks") return await serveDisks(what, more);
  if (path === "storage") {
    await serveStorage(what, Number(more), say);
    return;
  }
  if (path === undefined || path === "--help") {
    process.stdout.write(
      "usage: node agent.mjs CONFIG.json\nThe txsync agent of one host; its configuration is described in agent/config.ts.\n",
    );
    process.exit(path === undefined ? 2 : 0);
  }
  // Ends at once: the next life finds everything again.
  process.on("SIGTERM", () => process.exit(0));
  process.on("unhandledRejection", (error) => {
    process.stderr.write(
      `the agent stops: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
    );
    process.exit(70);
  });
  try {
    await new Agent(await loadConfig(path)).start();
    process.stderr.write("agent is up\n");
  } catch (error) {
    process.stderr.write(`${error instanceof UserError ? messageOf(error) : String((error as Error).stack)}\n`);
    process.exit(error instanceof UserError ? error.exitCode : 70);
  }
}

const say = (line: string): void => void process.stderr.write(`${line}\n`);
/** Of the daemon, whose log lies in the host's memory: a storage that is away for hours has a line for every request. */
const DAEMON_LINES = 1_000;

/** Where one is at work already this one ends: it may not touch what that one keeps. */
async function serveDisks(text: string, helper: string): Promise<void> {
  const config = daemonConfigSchema.parse(JSON.parse(text));
  // Two that are started in one moment would both find nobody.
  if ((await DiskDaemon.alone(config.folder)) === undefined || (await daemonIsThere(config.folder))) return;
  process.on("SIGTERM", () => process.exit(0));
  const few = fewLines(say, DAEMON_LINES);
  await DiskDaemon.start(config, few);
  await disksGoFirst(startHere, helper);
  few("disks are served");
}

// One file for all of its threads: one starts processes, the other one is the data plane.
if (isMainThread) await main();
else if (workerData === STARTER) runStarter();
else runDataPlane();
