import { resolve } from "node:path";
import type { SeenFile } from "../../fleet/container.ts";

/** What a snapshot's folder holds: memory and devices of the VM, what it had written to each disk, and of what it is one. */
const STATE = "state";
export const MANIFEST = "snapshot.json";

/** Where the source's host sees it. */
export const STATE_PATH = "/snapshot/state";

export function statePath(folder: string): string {
  return resolve(folder, STATE);
}

export function savedDisk(folder: string, number: number): string {
  return resolve(folder, `disk${number}`);
}

export function stateFiles(folder: string): readonly SeenFile[] {
  return [{ local: statePath(folder), path: STATE_PATH }];
}

/** Where the storage host sees what the snapshot has over an image. */
export function overlayPath(number: number): string {
  return `/images/snapshot-${number}`;
}

export function overlayFiles(folder: string, count: number): readonly SeenFile[] {
  return Array.from({ length: count }, (_, number) => ({
    local: savedDisk(folder, number),
    path: overlayPath(number),
  }));
}
