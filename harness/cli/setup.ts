import { existsSync } from "node:fs";
import { resolve } from "node:path";
import type { Command } from "commander";
import { UserError } from "../base/errors.ts";
import { ensureEngine } from "../fleet/engine.ts";
import { DEFAULT_QEMU, QEMU_NAMES, writeDebianDisk } from "../fleet/images.ts";
import { prepareImages, say } from "../run/prepare.ts";
import { qemuName } from "./options.ts";

interface SetupOptions {
  readonly qemu: string;
  readonly all?: boolean;
  readonly libvirt?: boolean;
  readonly debianDisk?: string;
}

export function registerSetup(program: Command): void {
  program
    .command("setup")
    .description("install and start what is missing and build the images, without running anything")
    .option("--qemu <name>", "QEMU version, or an image of your own", qemuName, DEFAULT_QEMU)
    .option("--all", "the images of all QEMU versions")
    .option("--libvirt", "the images of hosts with libvirt too, for --manager libvirt")
    .option(
      "--debian-disk <file>",
      "writes the disk of a whole Debian with a database there, for --guest custom; made when it is first asked for",
    )
    .action(async ({ qemu, all, libvirt, debianDisk }: SetupOptions) => {
      if (debianDisk !== undefined) {
        if (existsSync(debianDisk))
          throw new UserError(`There is a file ${debianDisk} already: choose another name, or remove it.`);
        const docker = await ensureEngine({ mayInstall: true, say });
        await writeDebianDisk(docker, resolve(debianDisk), { say });
        say(`${debianDisk} is written.`);
        return;
      }
      for (const name of all ? QEMU_NAMES : [qemu]) {
        await prepareImages(name);
        if (libvirt) await prepareImages(name, { libvirt });
      }
    });
}
