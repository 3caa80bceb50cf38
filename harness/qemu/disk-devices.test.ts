import { expect, it } from "vitest";
import { diskDevices } from "./disk-devices.ts";

const exported = (name: string): readonly string[] => ["driver=nbd", `export=${name}`];
const raw = (...names: string[]) => names.map((name) => ({ name, format: "raw" }) as const);

it("gives each disk a device of its own, or a unit of one controller", () => {
  expect(diskDevices(raw("a", "b"), "blk", exported)).toEqual([
    ...[
      "-blockdev",
      "node-name=a,discard=unmap,driver=nbd,export=a",
      "-device",
      "virtio-blk-pci,drive=a,queue-size=64,werror=stop,rerror=stop",
    ],
    ...[
      "-blockdev",
      "node-name=b,discard=unmap,driver=nbd,export=b",
      "-device",
      "virtio-blk-pci,drive=b,queue-size=64,werror=stop,rerror=stop",
    ],
  ]);
  expect(diskDevices(raw("a", "b"), "scsi", exported).filter((word) => word.includes("scsi"))).toEqual([
    "virtio-scsi-pci,id=scsi0,virtqueue_size=64",
    "scsi-hd,bus=scsi0.0,drive=a,lun=0,werror=stop,rerror=stop",
    "scsi-hd,bus=scsi0.0,drive=b,lun=1,werror=stop,rerror=stop",
  ]);
  expect(diskDevices([], "scsi", exported)).toEqual([]);
  expect(diskDevices(raw("seed"), "blk", exported)[1]).toBe("node-name=seed,read-only=on,driver=nbd,export=seed");
});

it("reads a qcow2 that lies in the export", () => {
  const [, blockdev, , device] = diskDevices([{ name: "a", format: "qcow2" }], "blk", exported);
  expect(blockdev).toBe("node-name=a,discard=unmap,driver=qcow2,file.driver=nbd,file.export=a");
  expect(device).toMatch(/^virtio-blk-pci,drive=a,/);
});
