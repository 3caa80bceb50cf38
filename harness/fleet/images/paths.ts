import { existsSync, readFileSync } from "node:fs";
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
  const path = join(PROJECT, "node_modules/node/bin/node");
  if (existsSync(path)) {
    const manifest = JSON.parse(readFileSync(join(PROJECT, "node_modules/node/package.json"), "utf8")) as {
      version: string;
    };
    return { path, version: manifest.version };
  }
  if (Number(process.versions.node.split(".")[0]) >= 24)
    return { path: process.execPath, version: process.versions.node };
  throw new UserError("the hosts need Node 24, which the npm package `node` brings: run npm install");
}
