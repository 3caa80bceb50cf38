import { messageOf } from "../base/errors.ts";
import { type DrillOptions, drill } from "./drill.ts";

/** Runs one drill: options as JSON in the first argument, the report as JSON on standard output. */
try {
  const report = await drill(JSON.parse(process.argv[2] ?? "{}") as DrillOptions);
  process.stdout.write(`${JSON.stringify(report)}\n`);
} catch (error) {
  process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : messageOf(error)}\n`);
  process.exitCode = 1;
}
