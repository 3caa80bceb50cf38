import { readdir, stat } from "node:fs/promises";
import { join, relative, sep } from "node:path";
import type { Evidence } from "../checks/evidence.ts";
import { EVIDENCE_FILE } from "./evidence-file.ts";

/** A file that a run left in its folder, by its path there with forward slashes. */
export type FileLeft = NonNullable<Evidence["files"]>[number];

/** What has its own seal, or is made anew at any time. */
const NOT_NAMED: readonly string[] = ["run.json", "timeline.ndjson", EVIDENCE_FILE, "index.html"];
/** How many of those that are not as they were are named. */
const NAMED_MAX = 6;

/** The files that a run has left by now beside its timeline and its record: logs, the escrow's transaction log. */
export async function filesLeft(folder: string): Promise<readonly FileLeft[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const names = entries
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => relative(folder, join(parentPath, name)).split(sep).join("/"))
    .filter((name) => !NOT_NAMED.includes(name))
    .sort();
  return await Promise.all(names.map(async (name) => ({ name, bytes: (await stat(join(folder, name))).size })));
}

/**
 * What of the files that a run left is not there as it was left: one sentence for those that are missing, one for those of
 * another size. No check judges by them; but whoever reads the run is shown less than there was, and has to know.
 */
export async function filesGone(folder: string, files: readonly FileLeft[]): Promise<readonly string[]> {
  const missing: string[] = [];
  const other: string[] = [];
  for (const { name, bytes } of files) {
    const found = await stat(join(folder, name)).catch(() => undefined);
    if (found === undefined) missing.push(name);
    else if (!found.isFile()) other.push(`${name} (no file any more)`);
    else if (found.size !== bytes) other.push(`${name} (${found.size} bytes, ${bytes} when the run ended)`);
  }
  return [
    ...(missing.length === 0 ? [] : [`missing of what the run left: ${listed(missing)}`]),
    ...(other.length === 0 ? [] : [`not as the run left it: ${listed(other)}`]),
  ];
}

function listed(names: readonly string[]): string {
  const more = names.length - NAMED_MAX;
  return more > 0 ? `${names.slice(0, NAMED_MAX).join(", ")} and ${more} more` : names.join(", ");
}
