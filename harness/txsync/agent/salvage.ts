import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { SmallBlock } from "../dirty/small-blocks.ts";
import { readSmallBlocks } from "../dirty/small-blocks.ts";
import type { BlockSize } from "../pages/page-map.ts";
import { machineType } from "../restore/feed.ts";
import type { VmProcess } from "./machine.ts";

/** A VM that stands still, without the RAM that is in a file: enough to make it again in another QEMU. */
export interface Salvaged {
  readonly machine: string;
  readonly blocks: readonly BlockSize[];
  readonly small: readonly SmallBlock[];
  /** As `xen-save-devices-state` writes it. */
  readonly device_state: Buffer;
}

/**
 * Takes a VM out of a QEMU that switched over to nobody: the agent that was to keep its package died. Such a migration
 * can be neither cancelled nor completed (migration/migration.c, postcopy_pause: it waits for a `resume`), so this QEMU
 * could never migrate again. The guest stands still; nothing is changed.
 * @throws Error when QEMU does not tell its state
 */
export async function salvage(vm: VmProcess, pagescan: string): Promise<Salvaged> {
  await vm.attached();
  const blocks = await vm.blocks();
  const path = join(vm.folder, "salvaged");
  await vm.qmp.execute("xen-save-devices-state", { filename: path, live: false });
  const device_state = readFileSync(path);
  rmSync(path);
  return {
    machine: await machineType(vm.qmp),
    blocks: blocks.map(({ name, bytes }) => ({ name, bytes })),
    small: await readSmallBlocks({ pagescan, pid: vm.pid, blocks }),
    device_state,
  };
}
