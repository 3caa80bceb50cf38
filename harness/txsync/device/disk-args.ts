import { join } from "node:path";
import type { DiskBus } from "../../base/configuration.ts";
import { type DiskNode, diskDevices } from "../../qemu/disk-devices.ts";
import { NBD_SOCKET } from "../disk/index.ts";

/** The daemon may be away for so long, and the guest only waits; then QEMU stops the VM, and it can go on later. */
const RECONNECT_S = 60;

/**
 * QEMU's arguments for the VM's disks, served in this folder. Each QEMU of a host has a higher number than those before
 * it, and shows it: once it has been closed out nothing that it had under way comes after.
 */
export function diskArgs(folder: string, disks: readonly DiskNode[], qemu: number, bus: DiskBus): readonly string[] {
  return diskDevices(disks, bus, (name) => [
    "driver=nbd",
    "server.type=unix",
    `server.path=${join(folder, NBD_SOCKET)}`,
    `export=${name}@${qemu}`,
    "cache.direct=on",
    `reconnect-delay=${RECONNECT_S}`,
  ]);
}
