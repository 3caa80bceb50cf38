/** What disks are for the guest: a virtio device each, or units of one virtio-scsi controller. */
export const DISK_BUSES = ["blk", "scsi"] as const;
export type DiskBus = (typeof DISK_BUSES)[number];

/** Name of a disk that nobody writes to: the seed of cloud-init. The guest has to see that, in whichever QEMU it runs. */
export const READ_ONLY_DISK = "seed";

/**
 * QEMU's arguments for a VM's disks.
 * @param names of the block devices, in their order
 * @param blockdev the value of `-blockdev` for one of them, but for its name
 */
export function diskDevices(
  names: readonly string[],
  bus: DiskBus,
  blockdev: (name: string) => string,
): readonly string[] {
  // An error that could be one of the way to the storage stops the VM: it can go on later.
  const on_error = "werror=stop,rerror=stop";
  const device = (name: string, number: number): string =>
    bus === "blk"
      ? `virtio-blk-pci,drive=${name},${on_error}`
      : `scsi-hd,bus=scsi0.0,drive=${name},lun=${number},${on_error}`;
  return [
    ...(bus === "scsi" && names.length > 0 ? ["-device", "virtio-scsi-pci,id=scsi0"] : []),
    ...names.flatMap((name, number) => [
      "-blockdev",
      `node-name=${name},${name === READ_ONLY_DISK ? "read-only=on," : ""}${blockdev(name)}`,
      "-device",
      device(name, number),
    ]),
  ];
}
