import { expect, it } from "vitest";
import { linuxFiles } from "./files.ts";

it("boots the kernel that has a driver for the card", () => {
  const cloud = linuxFiles(undefined);
  expect(linuxFiles("virtio")).toEqual(cloud);
  expect(linuxFiles("e1000e").kernel).toBe("/opt/ferryman/guests/linux/physical/vmlinux");
  expect(linuxFiles("e1000e").initrd).not.toBe(cloud.initrd);
});
