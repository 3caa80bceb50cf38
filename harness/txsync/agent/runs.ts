import { messageOf } from "../../base/errors.ts";
import { waitFor } from "../../base/wait.ts";
import { PausedError, pausedAs } from "../transaction/stopping.ts";
import type { VmProcess } from "./vm-process.ts";

const RUNS_MS = 5_000;

/** Whether QEMU answers a word that waits for its main loop. */
export async function answers(vm: VmProcess, timeout_ms = RUNS_MS): Promise<boolean> {
  try {
    await vm.qmp.execute("query-status", undefined, { timeout_ms });
    return true;
  } catch {
    return false;
  }
}

/** @throws PausedError where the VM is paused */
export async function refusePaused(vm: VmProcess): Promise<void> {
  const paused = pausedAs(await vm.qmp.execute("query-status", undefined, { timeout_ms: RUNS_MS }));
  if (paused !== undefined) throw new PausedError(paused);
}

/** `cont`, until QEMU itself says that the VM runs, or does what it does by itself (sleep, wait for a disk). @throws Error when it does not within a few seconds */
export async function runs(vm: VmProcess, timeout_ms = RUNS_MS): Promise<void> {
  let why = "";
  vm.thaw();
  await waitFor({ what: "QEMU to run the VM", timeout_ms, interval_ms: 5, lastLines: () => [why] }, async () => {
    if (vm.gone) throw new Error("QEMU ended instead of running the VM");
    try {
      await vm.qmp.execute("cont");
      return pausedAs(await vm.qmp.execute("query-status")) === undefined ? true : undefined;
    } catch (error) {
      why = messageOf(error);
      return undefined;
    }
  });
}
