import { accessSync, constants } from "node:fs";
import { join } from "node:path";
import { runCommand } from "./command.ts";

/** Whether packages can and may be installed on this machine: asked for, root, apt-get. */
export function canInstall(mayInstall: boolean): boolean {
  return mayInstall && process.getuid?.() === 0 && hasProgram("apt-get");
}

/** Whether a program is in PATH. */
export function hasProgram(name: string): boolean {
  return (process.env["PATH"] ?? "").split(":").some((folder) => {
    try {
      accessSync(join(folder, name), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/**
 * Installs packages and says so first. The caller has asked `canInstall`. The installation itself is not broken off
 * in the middle, which would leave the machine with half of it: an abort takes effect after it.
 */
export async function installPackages(
  packages: readonly string[],
  why: string,
  say: (line: string) => void,
  signal?: AbortSignal,
): Promise<void> {
  say(`${why}: installing ${packages.join(", ")} with apt-get`);
  const environment = { DEBIAN_FRONTEND: "noninteractive" };
  // A part of the machine's sources may be out of reach; what matters is whether the install goes through.
  await runCommand("apt-get", ["update"], { signal, environment }).catch((error: unknown) => {
    signal?.throwIfAborted();
    say(`apt-get update complained, going on: ${String(error).split("\n")[0]}`);
  });
  await runCommand("apt-get", ["install", "--yes", "--no-install-recommends", ...packages], { environment });
  signal?.throwIfAborted();
}
