import { messageOf } from "../base/errors.ts";
import { findEngine } from "../fleet/engine.ts";
import { imageState, QEMU_NAMES } from "../fleet/images.ts";
import { packageVersion } from "./prepare.ts";

/** Words of the command line that ask for the version and for nothing else. */
export function asksForVersion(words: readonly string[]): boolean {
  return words.length === 1 && (words[0] === "--version" || words[0] === "-V");
}

/** Ferryman, what it runs on, and the images that are there: what a report of an error should have in it. Changes nothing. */
export async function versionLines(): Promise<readonly string[]> {
  const lines = [`ferryman ${packageVersion()}`, `node ${process.version}`];
  try {
    const docker = await findEngine();
    if (docker === undefined) return [...lines, "engine: none answers"];
    const { Version, KernelVersion } = await docker.version();
    lines.push(`engine ${Version}, kernel ${KernelVersion ?? "unknown"}`);
    const images = new Map<string, string>();
    for (const qemu of QEMU_NAMES)
      for (const { what, tag, found } of await imageState(docker, qemu))
        images.set(tag, `image ${what === "host" ? `host with QEMU ${qemu}` : what}: ${found ? tag : "not there"}`);
    lines.push(...images.values());
  } catch (error) {
    lines.push(`engine: ${messageOf(error)}`);
  }
  return lines;
}
