import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";

/**
 * Runs a command beside processes that use a processor each, as noisy neighbours do:
 *   npx tsx harness/fleet/testing/beside-busy.ts 2 npx tsx harness/cli.ts run all
 * The exit code is the command's; the neighbours go with it.
 */
const [count, program, ...argv] = process.argv.slice(2);
if (!/^[1-9]\d?$/.test(count ?? "") || program === undefined) {
  process.stderr.write("usage: beside-busy.ts <processes, 1 to 99> <command> [arguments]\n");
  process.exit(2);
}
// A neighbour ends by itself when the pipe to us does, however we end.
const NEIGHBOUR = `
process.stdin.on("end", () => process.exit()).resume();
const turn = () => { const until = Date.now() + 20; while (Date.now() < until); setImmediate(turn); };
turn();`;
const neighbours = Array.from(
  { length: Number(count) },
  (): ChildProcess => spawn(process.execPath, ["-e", NEIGHBOUR], { stdio: ["pipe", "ignore", "inherit"] }),
);
const command = spawn(program, argv, { stdio: "inherit" });
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => command.kill(signal));
command.once("error", (error) => {
  process.stderr.write(`${program}: ${error.message}\n`);
  process.exit(2);
});
const [code, signal] = (await once(command, "exit")) as [number | null, NodeJS.Signals | null];
for (const neighbour of neighbours) neighbour.kill("SIGKILL");
process.exitCode = code ?? (signal === null ? 1 : 130);
