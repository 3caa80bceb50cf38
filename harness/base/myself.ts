import { sep } from "node:path";

/** Whether this is a package that somebody installed into a project of theirs, and not a clone of the repository. */
export const INSTALLED = import.meta.dirname.split(sep).includes("node_modules");

/** How whoever reads it starts Ferryman: what the commands in records, reports and advice begin with. */
export const FERRYMAN = INSTALLED ? "npx ferryman" : "npx tsx harness/cli.ts";
