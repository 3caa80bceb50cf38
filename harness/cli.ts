import { carryOut } from "./cli/program.ts";

const code = await carryOut(process.argv.slice(2));
if (code !== undefined) process.exitCode = code;
