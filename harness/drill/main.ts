import { messageOf } from "../base/errors.ts";
import { bootedDrill } from "./booted.ts";
import { drill } from "./drill.ts";

const DRILLS = { drill, booted: bootedDrill };

/** Runs one drill: its name and its options as JSON in the arguments, the report as JSON on standard output. */
try {
  const report = await DRILLS[process.argv[2] as keyof typeof DRILLS](JSON.parse(process.argv[3] ?? "{}"));
  process.stdout.write(`${JSON.stringify(report)}\n`);
} catch (error) {
  process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : messageOf(error)}\n`);
  process.exitCode = 1;
}
