import { randomBytes } from "node:crypto";
import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { waitFor } from "../../base/wait.ts";
import { ownerLives, ownerOf } from "../owner.ts";
import { privateFolder } from "../private-folder.ts";

const WAIT_MS = 20 * 60_000;

/**
 * Holds the lock on building images until disposed of, so that two processes do not build the same at once. The lock
 * is a convenience, not a need: images are tagged by content, a second build of the same would only take time. So a
 * lock whose process is gone is broken without ceremony.
 * @throws WaitTimeoutError after 20 minutes.
 */
export async function lockBuilding(
  say: (line: string) => void,
  signal?: AbortSignal,
  path = join(privateFolder(), "images.lock"),
): Promise<Disposable> {
  const me = ownerOf(process.pid) ?? String(process.pid);
  let said = false;
  await waitFor(
    {
      what: `another Ferryman to finish building images (lock ${path})`,
      timeout_ms: WAIT_MS,
      interval_ms: 200,
      signal,
    },
    () => {
      try {
        writeFileSync(path, me, { flag: "wx" });
        return true;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      }
      const owner = read(path);
      // Empty: its owner is between creating and writing it, or died there; it counts as live for this look only.
      if (owner !== undefined && !ownerLives(owner)) breakLock(path, owner);
      else if (!said) {
        said = true;
        say("another Ferryman is building images: waiting for it");
      }
      return undefined;
    },
  );
  return {
    [Symbol.dispose]: () => {
      if (read(path) === me) rmSync(path, { force: true });
    },
  };
}

/**
 * Takes away the lock of an owner that is gone. Of two that do so at once one has it: a lock is moved aside whole, then
 * looked at, and put back if it turns out to be that of a newer owner.
 */
export function breakLock(path: string, owner: string): void {
  const aside = `${path}.${process.pid}-${randomBytes(4).toString("hex")}`;
  try {
    renameSync(path, aside);
  } catch {
    return;
  }
  try {
    if (read(aside) !== owner) linkSync(aside, path);
  } catch {
    // Yet another has come meanwhile: two build the same, which costs time only.
  }
  rmSync(aside, { force: true });
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}
