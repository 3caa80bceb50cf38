import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { UserError } from "../../base/errors.ts";

export const PROJECT = join(dirname(fileURLToPath(import.meta.url)), "../../..");
export const FIXTURES = join(PROJECT, "fixtures");

/** Text of a file of fixtures/images. */
export function imageFixture(name: string): string {
  return readFileSync(join(FIXTURES, "images", name), "utf8");
}

/** The Node that the hosts get: the project's own dependency, or the one that runs this if it is new enough. */
export function hostNode(): { readonly path: string; readonly version: string } {
  const brought = broughtNode();
  if (brought !== undefined) return brought;
  if (Number(process.versions.node.split(".")[0]) >= 24)
    return { path: process.execPath, version: process.versions.node };
  throw new UserError("the hosts need Node 24, which the npm package `node` brings: run npm install");
}

/** The npm package `node`, wherever npm has put it: here, or in the project that has installed this one. */
function broughtNode(): { readonly path: string; readonly version: string } | undefined {
  let manifest: string;
  try {
    manifest = createRequire(import.meta.url).resolve("node/package.json");
  } catch {
    return undefined;
  }
  const path = join(dirname(manifest), "bin", "node");
  if (!existsSync(path)) return undefined;
  const { version } = JSON.parse(readFileSync(manifest, "utf8")) as { version: string };
  return { path, version };
}
