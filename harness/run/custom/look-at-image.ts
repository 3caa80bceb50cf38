import type { DiskImage } from "../../base/configuration.ts";
import type { ImageFindings } from "../../checks/images.ts";
import { checkQcow2, type QemuImgHost } from "../qcow2-check.ts";
import { EXT_MAGIC_AT, isExt, PARTITION_TABLE_BYTES, type Place, partitionsIn } from "./partitions.ts";

const CHECK_MS = 60_000;
/** A copy of a larger disk is not made to look at its file systems, bytes that are not zeros. */
const LOOKED_AT_BYTES_MAX = 8 * 1024 ** 3;
const SECTOR_BYTES = 512;
const OUTPUT_CHARS_MAX = 2_000;

/** Where the images are: it has e2fsck too. */
export type ImageHost = QemuImgHost;

/** A disk of the run's VM: what was written to it, and the image of the user's on which that lies. */
export interface ImageWritten {
  readonly name: string;
  readonly overlay: string;
  readonly image: DiskImage;
}

type FileSystem = ImageFindings[number]["filesystems"][number];

/**
 * Looks at an image to which nobody writes any more: its format, and the file systems on it.
 * @throws Error where it cannot be looked at: that says nothing of the VM
 */
export async function lookAtImage(
  host: ImageHost,
  { name, overlay, image }: ImageWritten,
): Promise<ImageFindings[number]> {
  const format = await checkFormat(host, overlay);
  const copy = `/tmp/look-${name}`;
  const measured = await host.run(`qemu-img measure -U -f qcow2 -O qcow2 ${overlay} | awk '/required/ {print $3}'`);
  const size = Number(measured);
  if (!(size <= LOOKED_AT_BYTES_MAX))
    return {
      name,
      ...format,
      filesystems: [],
      not_looked: `its file systems were not looked at: it holds ${size} bytes`,
    };
  try {
    await host.run(`qemu-img convert -U -f qcow2 -O raw ${overlay} ${copy}`, CHECK_MS);
    const filesystems: FileSystem[] = [];
    for (const place of await extOn(host, { path: copy, format: "raw" })) {
      const at = `'${copy}?offset=${place.at_bytes}'`;
      // Of a system that lost power first what its journal has is brought in, as its next start would do.
      const replayed = `e2fsck -E journal_only -p ${at} >/dev/null 2>&1`;
      const fsck = (await host.run(`${replayed}; e2fsck -fn ${at} 2>&1; echo code $?`, CHECK_MS)).trim();
      const clean = fsck.endsWith("code 0");
      filesystems.push({
        where: place.where,
        kind: "ext4",
        ...(clean ? {} : { fsck: fsck.slice(0, OUTPUT_CHARS_MAX) }),
      });
    }
    const gone = (await extOn(host, image)).filter(({ where }) => !filesystems.some((found) => found.where === where));
    return { name, ...format, filesystems, ...(gone.length === 0 ? {} : { gone: gone.map(({ where }) => where) }) };
  } finally {
    await host.run(`rm -f ${copy}`).catch(() => undefined);
  }
}

async function checkFormat(host: ImageHost, overlay: string): Promise<{ readonly format?: string }> {
  const { state, said } = await checkQcow2(host, overlay);
  if (state === "unreadable") throw new Error(`qemu-img could not check ${overlay}: ${said}`);
  return state === "damaged" ? { format: said } : {};
}

/** Where an image has an ext2, 3 or 4. */
async function extOn(host: ImageHost, image: DiskImage): Promise<readonly Place[]> {
  const found: Place[] = [];
  for (const place of partitionsIn(await read(host, image, 0, PARTITION_TABLE_BYTES)))
    if (isExt(await read(host, image, place.at_bytes + EXT_MAGIC_AT, 2))) found.push(place);
  return found;
}

/** What is behind an image's end is not there. */
async function read(host: ImageHost, { path, format }: DiskImage, offset: number, length: number): Promise<Buffer> {
  if (format === "raw") {
    const part = `iflag=skip_bytes,count_bytes skip=${offset} count=${length}`;
    const text = await host.run(`dd if=${path} bs=1M ${part} status=none | base64 -w0`);
    return Buffer.from(text.trim(), "base64");
  }
  const first = Math.floor(offset / SECTOR_BYTES) * SECTOR_BYTES;
  const sectors = Math.ceil((offset + length - first) / SECTOR_BYTES) * SECTOR_BYTES;
  // Lines of an offset and 16 bytes; not qemu-img dd, whose count includes what it skips.
  const bytes = `awk '/^[0-9a-f]+:/ { for (i = 2; i <= 17; i++) printf "%s", $i }'`;
  const hex = await host.run(`qemu-io -U -r -f ${format} -c 'read -v ${first} ${sectors}' ${path} 2>&1 | ${bytes}`);
  return Buffer.from(hex.trim(), "hex")
    .subarray(offset - first)
    .subarray(0, length);
}
