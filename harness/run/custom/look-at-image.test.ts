import { describe, expect, it } from "vitest";
import type { DiskImage } from "../../base/configuration.ts";
import { runCheck } from "../../checks/check.ts";
import { diskImages } from "../../checks/images.ts";
import { got, makeCase } from "../../checks/testing/make-case.ts";
import { type ImageHost, lookAtImage } from "./look-at-image.ts";

interface Disk {
  /** What qemu-img check and e2fsck end with, and print. */
  readonly format?: string;
  readonly fsck?: string;
  /** Whether there is an ext4 on the image as it came, and on what was written; default both. */
  readonly ext?: { readonly before: boolean; readonly after: boolean };
}

const MAGIC = Buffer.from([0x53, 0xef]);
const NOTHING = Buffer.alloc(2);

/** A host whose programs say that. Its disks have no partition table. */
function hostWith({ format = "code 0", fsck = "clean\ncode 0", ext = { before: true, after: true } }: Disk = {}) {
  const ran: string[] = [];
  const host: ImageHost = {
    run: async (command) => {
      ran.push(command);
      if (command.startsWith("qemu-img check")) return format;
      if (command.includes("measure")) return "4096\n";
      if (command.includes("e2fsck")) return fsck;
      const there = command.includes("/images/") ? ext.before : ext.after;
      if (command.startsWith("dd ") && command.includes("count=2 "))
        return (there ? MAGIC : NOTHING).toString("base64");
      // A sector, of which the magic is at 1080 - 1024.
      if (command.startsWith("qemu-io") && command.includes("read -v 1024"))
        return Buffer.concat([Buffer.alloc(56), there ? MAGIC : NOTHING, Buffer.alloc(454)]).toString("hex");
      return "";
    },
  };
  return { host, ran };
}

async function looked(disk: Disk, format: DiskImage["format"] = "raw") {
  const image = { path: "/images/0", format };
  return await lookAtImage(hostWith(disk).host, { name: "disk0", overlay: "/o/disk0", image });
}

async function said(disk: Disk, format?: DiskImage["format"]) {
  const evidence = { guest: { kind: "custom", can: ["images"] } } as const;
  const case_of = makeCase({ evidence, findings: { images: got([await looked(disk, format)]) } });
  return runCheck(diskImages, case_of);
}

describe("what is on an image in the end", () => {
  it("is whole where its format and its file systems are, and its copy is taken away", async () => {
    expect(await said({})).toMatchObject({
      verdict: true,
      summary: "the disks are whole: disk0: ext4 the whole disk clean",
    });
    const { host, ran } = hostWith();
    await lookAtImage(host, { name: "disk0", overlay: "/o/disk0", image: { path: "/images/0", format: "raw" } });
    expect(ran.at(-1)).toBe("rm -f /tmp/look-disk0");
  });

  it("is damaged where its format is, or a file system", async () => {
    expect(await said({ format: "ERROR cluster 3\ncode 2" })).toMatchObject({
      verdict: false,
      summary: expect.stringContaining("ERROR cluster 3"),
    });
    expect(await said({ fsck: "Free blocks count wrong\ncode 4" })).toMatchObject({
      verdict: false,
      summary: expect.stringContaining("Free blocks count wrong"),
    });
  });

  it.each(["raw", "qcow2"] as const)(
    "is not said to be whole where the file system of a %s image is to be found no more",
    async (format) => {
      expect(await said({ ext: { before: true, after: true } }, format)).toMatchObject({ verdict: true });
      expect(await said({ ext: { before: true, after: false } }, format)).toMatchObject({ verdict: "unknown" });
      expect(await said({ ext: { before: false, after: false } }, format)).toMatchObject({ verdict: true });
    },
  );

  it("is known to nobody where it could not be checked; room that nobody uses is no damage", async () => {
    await expect(looked({ format: "qemu-img: Failed to get lock\ncode 1" })).rejects.toThrow("Failed to get lock");
    expect(await looked({ format: "Leaked cluster 4\ncode 3" })).not.toHaveProperty("format");
  });
});
