import { expect, it } from "vitest";
import { diskDevices } from "./disk-devices.ts";

const blockdev = (name: string): string => `driver=nbd,export=${name}`;

it("gives each disk a device of its own, or a unit of one controller", () => {
  expect(diskDevices(["a", "b"], "blk", blockdev)).toEqual([
    ...["-blockdev", "node-name=a,driver=nbd,export=a", "-device", "virtio-blk-pci,drive=a,werror=stop,rerror=stop"],
    ...["-blockdev", "node-name=b,driver=nbd,export=b", "-device", "virtio-blk-pci,drive=b,werror=stop,rerror=stop"],
  ]);
  expect(diskDevices(["a", "b"], "scsi", blockdev).filter((word) => word.includes("scsi"))).toEqual([
    "virtio-scsi-pci,id=scsi0",
    "scsi-hd,bus=scsi0.0,drive=a,lun=0,werror=stop,rerror=stop",
    "scsi-hd,bus=scsi0.0,drive=b,lun=1,werror=stop,rerror=stop",
  ]);
  expect(diskDevices([], "scsi", blockdev)).toEqual([]);
  expect(diskDevices(["seed"], "blk", blockdev)[1]).toBe("node-name=seed,read-only=on,driver=nbd,export=seed");
});
