import { createHash } from "node:crypto";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join, relative } from "node:path";

/** First 12 hex digits of the SHA-256 over parts in order; no two lists of parts run together to the same bytes. */
export function contentHash(parts: readonly (string | Buffer)[]): string {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(`${Buffer.byteLength(part)}:`).update(part);
  return hash.digest("hex").slice(0, 12);
}

/** Paths and contents of all files of a folder, sorted; tests and texts do not count. A missing folder is empty. */
export function folderParts(folder: string): (string | Buffer)[] {
  return filesOf(folder).flatMap((path) => [relative(folder, path), readFileSync(path)]);
}

/** Whether a file of fixtures/ is part of an image. */
export function isImageFile(path: string): boolean {
  return !/\.(ts|md)$/.test(path);
}

function filesOf(folder: string): string[] {
  let names: string[];
  try {
    names = readdirSync(folder).sort();
  } catch {
    return [];
  }
  return names.flatMap((name) => {
    const path = join(folder, name);
    if (statSync(path).isDirectory()) return filesOf(path);
    return isImageFile(path) ? [path] : [];
  });
}

/** The lines of a package list; `#` starts a comment. */
export function packageList(text: string): string[] {
  return text
    .split("\n")
    .map((line) => line.replace(/#.*/, "").trim())
    .filter((line) => line !== "");
}
