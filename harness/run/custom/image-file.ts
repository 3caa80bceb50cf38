import { closeSync, openSync, readSync, statSync } from "node:fs";
import type { DiskFormat, DiskImage } from "../../base/configuration.ts";
import { messageOf, UserError } from "../../base/errors.ts";

/** qcow2's header (QEMU: docs/interop/qcow2.rst); numbers are big-endian. */
const MAGIC = 0x514649fb;
const HEADER_BYTES = 104;
const AT = { version: 4, backing_file: 8, size: 24, encryption: 32, incompatible: 72 } as const;
const INCOMPATIBLE = { corrupt: 2n, external_data: 4n } as const;
const SECTOR_BYTES = 512;

/** What a file is by its first bytes; whatever is nothing else is raw. @throws UserError where it cannot be read */
export function formatOf(path: string): DiskFormat {
  return headOf(path).readUInt32BE(0) === MAGIC ? "qcow2" : "raw";
}

/**
 * Looks at an image before anything starts: it is only read.
 * @returns the size of the disk that it is, bytes
 * @throws UserError where it cannot be a disk of a run
 */
export function checkImage({ path, format }: DiskImage): number {
  checkReadable(path);
  const head = headOf(path);
  const found = head.readUInt32BE(0) === MAGIC ? "qcow2" : "raw";
  if (format === "raw") {
    const { size } = statSync(path);
    if (size === 0 || size % SECTOR_BYTES !== 0)
      throw new UserError(
        `${path} has ${size} bytes, and a raw image has a multiple of ${SECTOR_BYTES}: make it larger with truncate.`,
      );
    return size;
  }
  const refuse = (why: string): never => {
    throw new UserError(`${path} cannot be a disk: ${why}.`);
  };
  if (found !== "qcow2") refuse("it is no qcow2 image, so say format=raw if it is a raw one");
  if (head.readUInt32BE(AT.version) < 2) refuse("it is an older format than qcow2");
  if (head.readBigUInt64BE(AT.backing_file) !== 0n)
    refuse("it has a backing file; make one piece of them with qemu-img convert -O qcow2");
  if (head.readUInt32BE(AT.encryption) !== 0) refuse("it is encrypted");
  if (head.readUInt32BE(AT.version) >= 3) {
    const flags = head.readBigUInt64BE(AT.incompatible);
    if ((flags & INCOMPATIBLE.corrupt) !== 0n) refuse("it is marked as corrupt; look at it with qemu-img check");
    if ((flags & INCOMPATIBLE.external_data) !== 0n)
      refuse("its data is in another file; make one piece of them with qemu-img convert -O qcow2");
  }
  return Number(head.readBigUInt64BE(AT.size));
}

/** @throws UserError where there is no such file, or it may not be read */
export function checkReadable(path: string): void {
  // The engine takes it for the end of the name.
  if (path.includes(":")) throw new UserError(`${path} cannot be used: its name has a colon; give it another.`);
  headOf(path);
}

function headOf(path: string): Buffer {
  const head = Buffer.alloc(HEADER_BYTES);
  try {
    if (!statSync(path).isFile()) throw new Error("it is no file");
    const file = openSync(path, "r");
    try {
      readSync(file, head, 0, HEADER_BYTES, 0);
    } finally {
      closeSync(file);
    }
  } catch (error) {
    throw new UserError(`${path} cannot be read: ${messageOf(error)}.`);
  }
  return head;
}
