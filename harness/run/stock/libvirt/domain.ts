import { UserError } from "../../../base/errors.ts";
import { MANAGEMENT_NAME, PORTS } from "../../../fleet/ports.ts";
import { MONITOR_PORTS, type VmMachine } from "../../../fleet/vm.ts";

/** Of every domain; a host has one. */
export const DOMAIN = "vm";
/** What the guest writes on its first serial line. */
export const CONSOLE_PATH = "/run/ferryman/console.log";
/** QEMU's own messages, with libvirt's command line in front. */
export const QEMU_LOG_PATH = `/var/log/libvirt/qemu/${DOMAIN}.log`;
export const PID_PATH = `/run/libvirt/qemu/${DOMAIN}.pid`;
/** Where libvirt puts guests' memory (fixtures/images/qemu.conf), a folder for each domain. */
export const MEMORY_FOLDER = "/dev/shm/ram";

/**
 * The VM as libvirt takes it: the same that a plain QEMU is asked for (harness/qemu/command-line.ts), as far as libvirt
 * lets one say so. Beside libvirt's own monitor QEMU has three for the harness, which work whatever libvirt does.
 * @param emulator path of QEMU on the host
 * @param disks elements of its disks (disks.ts), empty where it has none
 * @throws UserError for what libvirt is not told here
 */
export function domainXml(machine: VmMachine, emulator: string, disks: string): string {
  const { accel, memory_bytes, vcpus, kernel, initrd, append, extra } = machine;
  if (kernel === undefined || append === undefined)
    throw new UserError("Under libvirt the guest is booted by a kernel of its own here, with a command line.");
  if (machine.ram !== "file") throw new UserError(`Under libvirt guest RAM is a file here, not ${machine.ram}.`);
  const monitors = Object.values(MONITOR_PORTS).flatMap((port, n) => [
    "-chardev",
    `socket,id=eye${n},host=${MANAGEMENT_NAME},port=${port},server=on,wait=off`,
    "-mon",
    `chardev=eye${n},mode=control`,
  ]);
  const com2 = `<source mode="bind" host="${MANAGEMENT_NAME}" service="${PORTS.com2}"/><protocol type="raw"/>`;
  return [
    `<domain type="${accel === "kvm" ? "kvm" : "qemu"}" xmlns:qemu="http://libvirt.org/schemas/domain/qemu/1.0">`,
    `<name>${DOMAIN}</name>`,
    `<memory unit="b">${memory_bytes}</memory>`,
    `<vcpu>${vcpus}</vcpu>`,
    '<memoryBacking><source type="file"/><access mode="shared"/><allocation mode="ondemand"/></memoryBacking>',
    `<os><type arch="x86_64" machine="${escaped(machine.machine)}">hvm</type>`,
    `<kernel>${escaped(kernel)}</kernel>`,
    initrd === undefined ? "" : `<initrd>${escaped(initrd)}</initrd>`,
    `<cmdline>${escaped(append)}</cmdline></os>`,
    "<features><acpi/></features>",
    // The model of CPU_MODEL.
    '<cpu mode="custom" match="exact" check="none"><model fallback="forbid">qemu64</model>',
    '<feature policy="disable" name="pni"/><feature policy="disable" name="svm"/></cpu>',
    "<on_poweroff>destroy</on_poweroff><on_reboot>restart</on_reboot><on_crash>destroy</on_crash>",
    `<devices><emulator>${escaped(emulator)}</emulator>${disks}`,
    `<serial type="file"><source path="${CONSOLE_PATH}" append="on"/><target port="0"/></serial>`,
    `<serial type="tcp">${com2}<target port="1"/></serial>`,
    '<controller type="usb" model="none"/><memballoon model="none"/></devices>',
    "<qemu:commandline>",
    ...[...monitors, ...extra].map((argument) => `<qemu:arg value="${escaped(argument)}"/>`),
    "</qemu:commandline></domain>",
    "",
  ].join("\n");
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}
