import { messageOf } from "../../base/errors.ts";
import { waitFor } from "../../base/wait.ts";
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

/** `cont`, until QEMU itself says that the VM runs. @throws Error when it does not within a few seconds */
export async function runs(vm: VmProcess, timeout_ms = RUNS_MS): Promise<void> {
  let why = "";
  await waitFor({ what: "QEMU to run the VM", timeout_ms, interval_ms: 5, lastLines: () => [why] }, async () => {
    if (vm.gone) throw new Error("QEMU ended instead of running the VM");
    try {
      await vm.qmp.execute("cont");
      return (await vm.qmp.execute("query-status")).running ? true : undefined;
    } catch (error) {
      why = messageOf(error);
      return undefined;
    }
  });
}
