import { close, openSync, rmSync } from "node:fs";

/**
 * Takes a file's name away at once; what it holds, which may be gigabytes of a tmpfs (some 60 ms for each are the kernel's
 * for giving them back), goes with the last descriptor, in a thread of Node's pool. One that is not there is gone already.
 */
export function unlinkLarge(path: string): void {
  const fd = descriptorOf(path);
  try {
    rmSync(path, { force: true });
  } finally {
    if (fd !== undefined) close(fd, () => undefined);
  }
}

function descriptorOf(path: string): number | undefined {
  try {
    return openSync(path, "r");
  } catch {
    // Not there; or whatever else keeps it from being opened: then it is removed as any file.
    return undefined;
  }
}
