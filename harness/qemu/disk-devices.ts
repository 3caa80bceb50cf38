import type { DiskBus, DiskFormat } from "../base/configuration.ts";

/** Name of a disk that nobody writes to: the seed of cloud-init. The guest has to see that, in whichever QEMU it runs. */
export const READ_ONLY_DISK = "seed";

/** A disk as QEMU has it: the export of that name, and the format of what lies there. */
export interface DiskNode {
  readonly name: string;
  readonly format: DiskFormat;
}

/**
 * What a guest may have under way in a disk's queue, and `stop` waits for: so many requests of so many segments less two (QEMU:
 * hw/block/virtio-blk.c, `seg-max-adjust`), 16 MiB where a segment is a page. With QEMU's own default, 256, it is 256 MiB.
 */
const QUEUE_REQUESTS = 64;

/**
 * QEMU's arguments for a VM's disks.
 * @param disks in their order
 * @param exported the options of `-blockdev` for the export of one of them, but for the node's name
 */
export function diskDevices(
  disks: readonly DiskNode[],
  bus: DiskBus,
  exported: (name: string) => readonly string[],
): readonly string[] {
  // An error that could be one of the way to the storage stops the VM: it can go on later.
  const on_error = "werror=stop,rerror=stop";
  const device = (name: string, number: number): string =>
    bus === "blk"
      ? `virtio-blk-pci,drive=${name},queue-size=${QUEUE_REQUESTS},${on_error}`
      : `scsi-hd,bus=scsi0.0,drive=${name},lun=${number},${on_error}`;
  return [
    ...(bus === "scsi" && disks.length > 0
      ? ["-device", `virtio-scsi-pci,id=scsi0,virtqueue_size=${QUEUE_REQUESTS}`]
      : []),
    ...disks.flatMap(({ name, format }, number) => [
      "-blockdev",
      [
        `node-name=${name}`,
        // Without it QEMU answers a discard and passes none on.
        name === READ_ONLY_DISK ? "read-only=on" : "discard=unmap",
        ...(format === "raw" ? exported(name) : [`driver=${format}`, ...exported(name).map((each) => `file.${each}`)]),
      ].join(","),
      "-device",
      device(name, number),
    ]),
  ];
}
