import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { readSmallBlocks } from "../dirty/small-blocks.ts";
import { machineType } from "../restore/feed.ts";
import type { RestoreStream } from "../restore/restore-stream.ts";
import type { VmProcess } from "./vm-process.ts";

/**
 * Takes a VM out of a QEMU that switched over to nobody: the agent that was to keep its package died. Such a migration
 * can be neither cancelled nor completed (migration/migration.c, postcopy_pause: it waits for a `resume`), so this QEMU
 * could never migrate again. The guest stands still; nothing is changed. Main RAM is in its file.
 * @throws Error when QEMU does not tell its state
 */
export async function salvage(vm: VmProcess, pagescan: string): Promise<RestoreStream> {
  const blocks = await vm.blocks();
  const path = join(vm.folder, "salvaged");
  await vm.qmp.execute("xen-save-devices-state", { filename: path, live: false });
  const device_state = readFileSync(path);
  rmSync(path);
  const small = await readSmallBlocks({ pagescan, pid: vm.pid, blocks });
  return { machine: await machineType(vm.qmp), blocks, small, device_state };
}
