import type Docker from "dockerode";
import { messageOf, UserError } from "../../base/errors.ts";
import { runInImage } from "./docker.ts";

export interface QemuInImage {
  readonly path: string;
  /** As QEMU says it: `10.0.13 (Debian 1:10.0.13+ds-0+deb13u1)`. */
  readonly version: string;
}

/** Programs that the harness calls in a host by the shell. */
const PROGRAMS = ["cat", "dd", "fallocate", "mkdir", "rm", "sleep"];

const SCRIPT = `
for program in ${PROGRAMS.join(" ")}; do
  command -v "$program" >/dev/null 2>&1 || echo "missing=$program"
done
for qemu in "$(command -v qemu-system-x86_64)" /usr/local/bin/qemu-system-x86_64 /usr/libexec/qemu-kvm; do
  if [ -x "$qemu" ]; then
    echo "path=$qemu"
    "$qemu" --version 2>&1 || echo "failed=$?"
    break
  fi
done
`;

/**
 * Looks into an image for what a host needs. A user's own image (`--qemu <image>`) must contain:
 * - QEMU's x86-64 system emulator with its firmware (q35 machine, SeaBIOS) as `qemu-system-x86_64` in PATH or in
 *   /usr/local/bin, or as /usr/libexec/qemu-kvm; `--version` must run;
 * - `/bin/sh` (POSIX), and in PATH cat, dd (GNU: iflag=skip_bytes), fallocate, mkdir, rm and sleep;
 * - glibc 2.28 or newer and libstdc++ for Node 24 (checked when the host image is built, see makeHost);
 * - for linux/amd64. Its user, entry point and command do not matter; Ferryman adds everything under /opt/ferryman.
 * @throws UserError that names everything that is missing.
 */
export async function lookForQemu(docker: Docker, image: string): Promise<QemuInImage> {
  let output: string;
  try {
    output = await runInImage(docker, image, SCRIPT);
  } catch (error) {
    const reason = messageOf(error);
    if (/no such file|not found|executable file/i.test(reason)) {
      throw new UserError(`image ${image} has no /bin/sh: a QEMU image must contain a POSIX shell at /bin/sh`);
    }
    throw new UserError(`image ${image} could not be looked into: ${reason}`);
  }
  return readFindings(image, output);
}

/** Reads what the script in the image wrote. */
export function readFindings(image: string, output: string): QemuInImage {
  const missing = [...output.matchAll(/^missing=(.+)$/gm)].map((match) => match[1]);
  const path = /^path=(.+)$/m.exec(output)?.[1];
  const version = /^QEMU emulator version (.+)$/m.exec(output)?.[1];
  const faults: string[] = [];
  if (path === undefined) {
    faults.push(
      "it must contain qemu-system-x86_64 in PATH or /usr/local/bin, or /usr/libexec/qemu-kvm, and contains none of them",
    );
  } else if (version === undefined) {
    const said = output.split("\n").filter((line) => !/^(missing|path|failed)=/.test(line));
    faults.push(`its ${path} must run, and \`--version\` answers: ${said.join(" ").trim() || "nothing"}`);
  }
  if (missing.length > 0) faults.push(`it must contain ${missing.join(", ")} in PATH`);
  if (faults.length > 0 || path === undefined || version === undefined) {
    throw new UserError(`image ${image} cannot be a host: ${faults.join("; ")}`);
  }
  return { path, version };
}
