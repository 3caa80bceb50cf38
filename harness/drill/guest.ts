import { closeSync, openSync, readSync } from "node:fs";
import { PAGE_BYTES } from "../base/page.ts";
import { waitFor } from "../base/wait.ts";
import { decodeStatusPage, STATUS_ADDRESS, type StatusPage } from "../guests/integrity/status-page.ts";
import type { DrillMachine } from "./machine.ts";

/** The guest's status page, once it is valid. */
export function statusOf(ram_path: string): StatusPage | undefined {
  const page = Buffer.alloc(PAGE_BYTES);
  const file = openSync(ram_path, "r");
  try {
    readSync(file, page, 0, PAGE_BYTES, STATUS_ADDRESS);
  } finally {
    closeSync(file);
  }
  try {
    return decodeStatusPage(page);
  } catch {
    return undefined;
  }
}

/** Steps done, all processors together. */
export function steps(status: StatusPage): number {
  return status.cpus.reduce((sum, cpu) => sum + cpu.step_done, 0);
}

/** Waits until the guest has done more than so many steps. */
export async function working(machine: DrillMachine, beyond: number): Promise<StatusPage> {
  return await waitFor(
    { what: `the guest of ${machine.options.name} to go beyond step ${beyond}`, timeout_ms: 20_000, interval_ms: 5 },
    () => {
      const status = statusOf(machine.options.ram_path);
      return status !== undefined && status.phase === "working" && steps(status) > beyond ? status : undefined;
    },
  );
}
