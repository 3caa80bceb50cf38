import { linuxCommandLine } from "../../guests/linux/command-line.ts";
import { linuxFiles } from "../../guests/linux/files.ts";
import type { LinuxProbe } from "../../qemu/accel.ts";

const PATTERN_BYTES = 16 * 2 ** 20;

/** The guest as one that only has to come up, and tells what it does from its first moment on. */
export const LINUX_PROBE: LinuxProbe = {
  ...linuxFiles(undefined),
  append: linuxCommandLine({
    pattern_bytes: PATTERN_BYTES,
    seed: 1,
    extra: ["ignore_loglevel", "earlyprintk=ttyS0,115200"],
  }),
  up: /FERRYMAN-LINUX boot /,
};
