import { renameSync, writeFileSync } from "node:fs";

/** Writes a file of the host's tmpfs so that whoever reads it finds it whole, as it was or as it is. */
export function writeWhole(path: string, content: Uint8Array | string): void {
  writeFileSync(`${path}.new`, content);
  renameSync(`${path}.new`, path);
}
