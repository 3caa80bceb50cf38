import type Docker from "dockerode";
import { messageOf } from "../base/errors.ts";
import {
  judgeLinuxProbe,
  judgeProbe,
  kvmProbeArgv,
  LINUX_PROBE_CONSOLE,
  LINUX_PROBE_MS,
  type LinuxProbe,
  linuxProbeArgv,
  PROBE_TIMEOUT_MS,
  type ProbeResult,
  probeImage,
} from "../qemu/accel.ts";
import { runOnce } from "./once.ts";
import { HOST_RIGHTS } from "./rights.ts";

const IMAGE_PATH = "/tmp/ferryman-probe";

/** Runs a tiny guest under KVM inside a host image: a /dev/kvm that opens may still run nothing. */
export async function probeKvm(docker: Docker, host_image: string): Promise<ProbeResult> {
  const image = Buffer.from(probeImage());
  // Nearly all of the image is zeros: only what is not needs to be carried over.
  const head = image.subarray(0, 4096).toString("base64");
  const tail = image.subarray(-16).toString("base64");
  const script = [
    `truncate -s ${image.length} ${IMAGE_PATH}`,
    `echo ${head} | base64 -d | dd of=${IMAGE_PATH} conv=notrunc status=none`,
    `echo ${tail} | base64 -d | dd of=${IMAGE_PATH} conv=notrunc status=none oflag=seek_bytes seek=${image.length - 16}`,
    `exec qemu-system-x86_64 ${kvmProbeArgv(IMAGE_PATH).join(" ")}`,
  ].join(" && ");
  try {
    const { output, exit_code } = await runOnce(docker, {
      image: host_image,
      what: "kvm-probe",
      script,
      devices: ["/dev/kvm"],
      rights: HOST_RIGHTS,
      timeout_ms: PROBE_TIMEOUT_MS,
    });
    return judgeProbe(output, exit_code);
  } catch (error) {
    return { ran: false, why: messageOf(error) };
  }
}

const LOOK_MS = 100;
const SAID = "----- said";

/**
 * Boots a Linux under KVM inside a host image, until its console says that it is up, or says nothing for too long.
 * @param accel for a test where there is no KVM that runs one
 */
export async function probeLinux(
  docker: Docker,
  host_image: string,
  linux: LinuxProbe,
  accel: "kvm" | "tcg" = "kvm",
): Promise<ProbeResult> {
  const argv = linuxProbeArgv(linux, accel).map((word) => `'${word}'`);
  const turns = (ms: number): number => Math.ceil(ms / LOOK_MS);
  const script = [
    `touch ${LINUX_PROBE_CONSOLE}`,
    `qemu-system-x86_64 ${argv.join(" ")} >/tmp/said 2>&1 & qemu=$!`,
    `for turn in $(seq ${turns(LINUX_PROBE_MS.most)}); do`,
    `  grep -qE '${linux.up.source}' ${LINUX_PROBE_CONSOLE} && break`,
    "  kill -0 $qemu 2>/dev/null || break",
    `  test $turn -lt ${turns(LINUX_PROBE_MS.silent)} || test -s ${LINUX_PROBE_CONSOLE} || break`,
    `  sleep ${LOOK_MS / 1_000}`,
    "done",
    "kill -9 $qemu 2>/dev/null",
    `cat ${LINUX_PROBE_CONSOLE}; echo '${SAID}'; cat /tmp/said`,
  ].join("\n");
  try {
    const { output } = await runOnce(docker, {
      image: host_image,
      what: "linux-probe",
      script,
      devices: accel === "kvm" ? ["/dev/kvm"] : [],
      rights: HOST_RIGHTS,
      timeout_ms: 2 * LINUX_PROBE_MS.most,
    });
    const [console = "", said = ""] = output.split(SAID);
    return judgeLinuxProbe(console, said.trimStart(), linux);
  } catch (error) {
    return { ran: false, why: messageOf(error) };
  }
}

/** Asks QEMU, with the rights that our hosts have, whether it can do post-copy: that needs userfaultfd. */
export async function probeUserfaultfd(
  docker: Docker,
  host_image: string,
): Promise<{ readonly ok: boolean; readonly detail: string; readonly mend?: string }> {
  const commands = [
    { execute: "qmp_capabilities" },
    {
      execute: "migrate-set-capabilities",
      arguments: { capabilities: [{ capability: "postcopy-ram", state: true }] },
    },
    { execute: "quit" },
  ].map((command) => JSON.stringify(command));
  const { output } = await runOnce(docker, {
    image: host_image,
    what: "userfaultfd-probe",
    script: `echo '${commands.join("\n")}' | qemu-system-x86_64 -M q35 -nodefaults -display none -qmp stdio -incoming defer`,
    rights: HOST_RIGHTS,
    timeout_ms: PROBE_TIMEOUT_MS,
  });
  const answers = output.split("\n").filter((line) => line.includes('"return"'));
  const refused = /"desc": "([^"]*)"/.exec(output);
  if (answers.length >= 2 && !refused) return { ok: true, detail: "QEMU can do post-copy in our hosts" };
  return {
    ok: false,
    detail: `QEMU says: ${refused?.[1] ?? (output.trim() || "nothing")}`,
    mend: "a kernel with userfaultfd is needed, and an engine that grants SYS_PTRACE and takes a seccomp profile",
  };
}

/** The names of the migration capabilities that the QEMU in a host image has. @throws Error when it does not tell */
export async function probeCapabilities(docker: Docker, host_image: string): Promise<readonly string[]> {
  const commands = ["qmp_capabilities", "query-migrate-capabilities", "quit"].map((execute) =>
    JSON.stringify({ execute }),
  );
  const { output } = await runOnce(docker, {
    image: host_image,
    what: "capabilities-probe",
    script: `printf '%s\\n' ${commands.map((command) => `'${command}'`).join(" ")} | qemu-system-x86_64 -M none -nodefaults -display none -qmp stdio`,
    timeout_ms: PROBE_TIMEOUT_MS,
  });
  const names = [...output.matchAll(/"capability": "([a-z0-9-]+)"/g)].flatMap(([, name]) => name ?? []);
  if (names.length === 0) throw new Error(`QEMU says: ${output.trim() || "nothing"}`);
  return names.sort();
}
