import { chmodSync, lstatSync, mkdirSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { messageOf, UserError } from "../base/errors.ts";

/**
 * The folder for locks and logs of this user, which nobody else can write to or look into: under XDG_RUNTIME_DIR where
 * that is this user's, else in the home folder. (In /tmp anybody could lay a link where root then writes.)
 * @throws UserError when it cannot be made, or is somebody else's.
 */
export function privateFolder(environment: NodeJS.ProcessEnv = process.env): string {
  const runtime = environment["XDG_RUNTIME_DIR"];
  const home = environment["HOME"] || homedir();
  const path = join(runtime && isOurs(runtime) ? runtime : join(home, ".cache"), "ferryman");
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
    const found = lstatSync(path);
    if (!found.isDirectory() || found.uid !== process.getuid?.()) throw new Error("it is no folder of this user's");
    chmodSync(path, 0o700);
  } catch (error) {
    throw new UserError(`the folder ${path} for Ferryman's lock and logs cannot be used: ${messageOf(error)}`);
  }
  return path;
}

function isOurs(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.uid === process.getuid?.();
}
