import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { deserialize, serialize } from "node:v8";

/**
 * Writes a file of the host's tmpfs so that whoever reads it finds it whole, as it was or as it is.
 * @throws what the file system does; what was written by then takes no room any more
 */
function writeWhole(path: string, content: Uint8Array | string): void {
  try {
    writeFileSync(`${path}.new`, content);
    renameSync(`${path}.new`, path);
  } catch (error) {
    rmSync(`${path}.new`, { force: true });
    throw error;
  }
}

/** Keeps a value of plain data and Buffers for the agent's next life. */
export function keep(path: string, value: object): void {
  writeWhole(path, serialize(value));
}

/** What `keep` wrote there last, Buffers as Buffers; undefined where it wrote nothing. */
export function kept<T extends object>(path: string): T | undefined {
  return existsSync(path) ? (deserialize(readFileSync(path)) as T) : undefined;
}
