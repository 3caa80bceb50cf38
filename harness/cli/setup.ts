import type { Command } from "commander";
import { DEFAULT_QEMU, QEMU_NAMES } from "../fleet/images.ts";
import { prepareImages } from "../run/prepare.ts";
import { qemuName } from "./options.ts";

export function registerSetup(program: Command): void {
  program
    .command("setup")
    .description("install and start what is missing and build the images, without running anything")
    .option("--qemu <name>", "QEMU version, or an image of your own", qemuName, DEFAULT_QEMU)
    .option("--all", "the images of all QEMU versions")
    .option("--libvirt", "the images of hosts with libvirt too, for --manager libvirt")
    .action(async ({ qemu, all, libvirt }: { qemu: string; all?: boolean; libvirt?: boolean }) => {
      for (const name of all ? QEMU_NAMES : [qemu]) {
        await prepareImages(name);
        if (libvirt) await prepareImages(name, { libvirt });
      }
    });
}
