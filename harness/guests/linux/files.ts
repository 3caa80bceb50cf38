import type { Net } from "../../base/configuration.ts";

const BUILT = "/opt/ferryman/guests/linux";

/**
 * Where every host has what the Linux guest boots (fixtures/guests/linux/build.sh).
 * @param net its network card: Debian's cloud kernel has no driver for an e1000e, its kernel for machines has
 */
export function linuxFiles(net: Net | undefined): { readonly kernel: string; readonly initrd: string } {
  const folder = net === "e1000e" ? `${BUILT}/physical` : BUILT;
  return { kernel: `${folder}/vmlinux`, initrd: `${folder}/initramfs` };
}
