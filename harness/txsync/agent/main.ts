import { isMainThread } from "node:worker_threads";
import { messageOf, UserError } from "../../base/errors.ts";
import { runDataPlane } from "../data/index.ts";
import { Agent } from "./agent.ts";
import { loadConfig } from "./config.ts";

/** The agent's program: `node agent.mjs CONFIG.json`. Ends only when it is killed, or must not go on. */
async function main(): Promise<void> {
  const path = process.argv[2];
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

// One file for both of its threads: the second one is the data plane.
if (isMainThread) await main();
else runDataPlane();
