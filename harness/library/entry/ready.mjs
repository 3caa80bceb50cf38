import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import process from "node:process";

/** Ferryman is TypeScript that is loaded as it stands; it needs this Node for what it uses of the language. */
const NEEDED = 24;

/** Whether this Node is new enough. */
export const ready = Number(process.versions.node.split(".")[0]) >= NEEDED;

/** The Node that the npm package `node` brings along, where it is there. */
export function broughtNode() {
  try {
    const path = join(dirname(createRequire(import.meta.url).resolve("node/package.json")), "bin", "node");
    return existsSync(path) ? path : undefined;
  } catch {
    return undefined;
  }
}

/** What to do about a Node that is too old. */
export const TOO_OLD = `ferryman needs Node ${NEEDED}, and this is ${process.versions.node}: install a newer one, or the npm package node@${NEEDED} beside it`;
