import { mkdir, rename, symlink, unlink } from "node:fs/promises";
import { basename, dirname, join } from "node:path";

/** Beside the folders of runs: a link to the one that was begun last. */
export const LATEST = "latest";

/** Has `latest` lead to this folder. Where links cannot be made there is none: nothing else depends on it. */
export async function markLatest(folder: string): Promise<void> {
  const link = join(dirname(folder), LATEST);
  const made = `${link}-${process.pid}`;
  try {
    await mkdir(folder, { recursive: true });
    await symlink(basename(folder), made);
    // Over the old one in one step: somebody may be reading it.
    await rename(made, link);
  } catch {
    await unlink(made).catch(() => undefined);
  }
}
