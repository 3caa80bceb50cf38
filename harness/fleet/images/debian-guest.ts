import { chmodSync, copyFileSync, createWriteStream, renameSync } from "node:fs";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import type Docker from "dockerode";
import { messageOf, UserError } from "../../base/errors.ts";
import { runCommand } from "./command.ts";
import { contentHash, folderParts, packageList } from "./content.ts";
import { type DebianRecipe, debianTag, machineMirror, needMmdebstrap } from "./debian.ts";
import { buildImage, type Making, temporaryFolder } from "./docker.ts";
import { FIXTURES, imageFixture } from "./paths.ts";
import { storageRecipe } from "./storage.ts";

const SUITE = "trixie";
/** Of the disk; what is not written takes no room. */
const DISK_MIB = 1_536;
const FOLDER = join(FIXTURES, "guests/debian");

const packages = (): string[] => packageList(imageFixture("debian-guest.packages"));

/** The recipe of what the disk is made in: the storage host of runs with images has the programs for it. */
export function diskMakerRecipe(): DebianRecipe {
  return storageRecipe({ images: true });
}

/** Tag of the image that holds the disk of a whole Debian, `disk.qcow2`, and nothing else. */
export function debianGuestTag(): string {
  const hash = contentHash([
    SUITE,
    ...packages(),
    String(DISK_MIB),
    debianTag(diskMakerRecipe()),
    imageFixture("debian-guest.Dockerfile"),
    ...folderParts(FOLDER),
  ]);
  return `ferryman/debian-guest:${hash}`;
}

/**
 * Makes a Debian system as it comes, with systemd, a kernel, a boot loader and a database, and its disk. There is only one
 * way: an image of a registry has neither kernel nor init. The recipe's image of {@link diskMakerRecipe} is there.
 * @throws UserError when mmdebstrap is not to be had, or fails.
 */
export async function makeDebianGuest(making: Making): Promise<void> {
  await needMmdebstrap(making, { what: "debian-guest", suite: SUITE, packages: packages(), backported: [] });
  const mirror = await machineMirror();
  using folder = temporaryFolder();
  chmodSync(folder.path, 0o755);
  for (const name of ["disk.sh", "customize.sh"]) copyFileSync(join(FOLDER, name), join(folder.path, name));
  copyFileSync(join(FIXTURES, "images/debian-guest.Dockerfile"), join(folder.path, "Dockerfile"));
  making.progress("debian-guest", "mmdebstrap", 0.1);
  try {
    const out = createWriteStream(join(folder.path, "root.tar"));
    const written = new Promise<void>((resolve, reject) => out.once("error", reject).once("close", resolve));
    await runCommand(
      "mmdebstrap",
      [
        "--variant=minbase",
        ...(process.getuid?.() === 0 ? ["--mode=root"] : []),
        '--aptopt=Acquire::Check-Valid-Until "false"',
        '--aptopt=Acquire::Languages "none"',
        '--aptopt=APT::Install-Recommends "false"',
        `--include=${packages().join(",")}`,
        `--customize-hook=sh ${join(folder.path, "customize.sh")} "$1"`,
        '--customize-hook=rm -rf "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/*',
        SUITE,
        "-",
        ...(mirror === undefined ? [] : [`deb ${mirror} ${SUITE} main`]),
      ],
      {
        signal: making.signal,
        environment: process.getuid?.() === 0 ? { TMPDIR: folder.path } : {},
        onOutput: (output) => output.pipe(out),
      },
    );
    await written;
  } catch (error) {
    making.signal.throwIfAborted();
    throw new UserError(`the Debian guest could not be made with mmdebstrap: ${messageOf(error)}`);
  }
  making.progress("debian-guest", "its disk", 0.8);
  await buildImage(making, {
    image: "debian-guest",
    tag: debianGuestTag(),
    context: folder.path,
    args: { BASE: debianTag(diskMakerRecipe()), MIB: String(DISK_MIB) },
  });
}

/** Takes the disk out of the image. @throws UserError where it cannot be written there */
export async function copyDebianDisk(docker: Docker, tag: string, path: string): Promise<void> {
  using folder = temporaryFolder();
  // Never started: an image of one file has nothing that could run.
  const container = await docker.createContainer({ Image: tag, Cmd: ["none"] });
  try {
    const archive = join(folder.path, "disk.tar");
    await pipeline(await container.getArchive({ path: "/disk.qcow2" }), createWriteStream(archive));
    await runCommand("tar", ["-xf", archive, "-C", folder.path, "disk.qcow2"]);
  } finally {
    await container.remove({ force: true });
  }
  try {
    try {
      renameSync(join(folder.path, "disk.qcow2"), path);
    } catch (error) {
      // On another file system.
      if ((error as NodeJS.ErrnoException).code !== "EXDEV") throw error;
      copyFileSync(join(folder.path, "disk.qcow2"), path);
    }
  } catch (error) {
    throw new UserError(`the disk could not be written to ${path}: ${messageOf(error)}`);
  }
}
