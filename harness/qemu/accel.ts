import { UserError } from "../base/errors.ts";
import type { Accel } from "../base/run-record.ts";
import { CPU_MODEL } from "./command-line.ts";

export type AccelAsked = "auto" | Accel;

/** What came of trying to run a guest under KVM. `why` is a clause for people: "its answer never came". */
export interface ProbeResult {
  readonly ran: boolean;
  readonly why: string;
}

export interface AccelChoice {
  readonly accel: Accel;
  readonly why: string;
}

/**
 * The accelerator for a run. `probe` runs the probe guest for a moment: a /dev/kvm that opens may run nothing. It is
 * only called when the answer matters. What it throws counts as "did not run".
 * @throws UserError when KVM was asked for and does not run.
 */
export async function chooseAccel(asked: AccelAsked, probe: () => Promise<ProbeResult>): Promise<AccelChoice> {
  if (asked === "tcg") return { accel: "tcg", why: "asked for" };
  let result: ProbeResult;
  try {
    result = await probe();
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    result = { ran: false, why: text };
  }
  if (result.ran) return { accel: "kvm", why: result.why };
  if (asked === "kvm") {
    throw new UserError(
      `KVM was asked for, but runs no such guest here: ${result.why}. Use --accel tcg or --accel auto.`,
    );
  }
  return { accel: "tcg", why: `KVM runs no such guest here: ${result.why}` };
}

/** Value that the probe guest writes to isa-debug-exit; QEMU then exits with twice that and one. */
const EXIT_VALUE = 0x21;
/** Exit code of a QEMU whose probe guest went all the way. */
export const PROBE_EXIT_CODE = EXIT_VALUE * 2 + 1;
/**
 * What the guest writes: a word from 16-bit code, then from 32-bit code the sum of 1 to 256 as it reads it back from
 * memory, 0x00008080, a letter for each hexadecimal digit (A = 0).
 */
const PROBE_OUTPUT = "16 32 AAAAIAIA";

/** Size of the firmware image: `-bios` wants multiples of 64 KiB, and this one fits between 0xf0000 and 1 MiB. */
export const PROBE_IMAGE_BYTES = 64 * 1024;

/** The probe guest, at 0xf0000. Numbers in the comments are offsets. */
const PROBE_CODE: readonly number[] = [
  // 00: 16-bit code. Interrupts off, strings upwards.
  ...[0xfa, 0xfc],
  // 02: "16 " to port 0xe9 (mov al, c; out 0xe9, al)
  ...[0xb0, 0x31, 0xe6, 0xe9, 0xb0, 0x36, 0xe6, 0xe9, 0xb0, 0x20, 0xe6, 0xe9],
  // 0e: lgdt cs:[0x77]
  ...[0x2e, 0x66, 0x0f, 0x01, 0x16, 0x77, 0x00],
  // 15: cr0 |= 1 (protection on, paging stays off)
  ...[0x0f, 0x20, 0xc0, 0x0c, 0x01, 0x0f, 0x22, 0xc0],
  // 1d: far jump to 0x08:0x000f0025
  ...[0x66, 0xea, 0x25, 0x00, 0x0f, 0x00, 0x08, 0x00],
  // 25: 32-bit code. ds = es = 0x10
  ...[0x66, 0xb8, 0x10, 0x00, 0x8e, 0xd8, 0x8e, 0xc0],
  // 2d: edi = 0x10000, ecx = 256, eax = 0
  ...[0xbf, 0x00, 0x00, 0x01, 0x00, 0xb9, 0x00, 0x01, 0x00, 0x00, 0x31, 0xc0],
  // 39: inc eax; stosd; loop 39
  ...[0x40, 0xab, 0xe2, 0xfc],
  // 3d: esi = 0x10000, ecx = 256, edx = 0
  ...[0xbe, 0x00, 0x00, 0x01, 0x00, 0xb9, 0x00, 0x01, 0x00, 0x00, 0x31, 0xd2],
  // 49: lodsd; add edx, eax; loop 49
  ...[0xad, 0x01, 0xc2, 0xe2, 0xfb],
  // 4e: "32 "
  ...[0xb0, 0x33, 0xe6, 0xe9, 0xb0, 0x32, 0xe6, 0xe9, 0xb0, 0x20, 0xe6, 0xe9],
  // 5a: ecx = 8
  ...[0xb9, 0x08, 0x00, 0x00, 0x00],
  // 5f: rol edx, 4; al = (dl & 15) + 'A'; out 0xe9; loop 5f
  ...[0xc1, 0xc2, 0x04, 0x88, 0xd0, 0x24, 0x0f, 0x04, 0x41, 0xe6, 0xe9, 0xe2, 0xf3],
  // 6c: newline
  ...[0xb0, 0x0a, 0xe6, 0xe9],
  // 70: out 0xf4, EXIT_VALUE: QEMU exits
  ...[0xb0, EXIT_VALUE, 0xe6, 0xf4],
  // 74: hlt; jmp 74
  ...[0xf4, 0xeb, 0xfd],
  // 77: GDT of 23 + 1 bytes at 0x000f007d
  ...[0x17, 0x00, 0x7d, 0x00, 0x0f, 0x00],
  // 7d: null; code, flat; data, flat. Marked as accessed already: the CPU cannot mark them in read-only memory, and
  // a KVM that emulates tries for ever.
  ...[0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00],
  ...[0xff, 0xff, 0x00, 0x00, 0x00, 0x9b, 0xcf, 0x00],
  ...[0xff, 0xff, 0x00, 0x00, 0x00, 0x93, 0xcf, 0x00],
];

/** Where the CPU begins after reset, in the last 16 bytes of the image: far jump to f000:0000. */
const RESET_VECTOR = { offset: PROBE_IMAGE_BYTES - 16, code: [0xea, 0x00, 0x00, 0x00, 0xf0] } as const;

/** The probe guest as a firmware image, to be written to the file that `probeArgv` names. */
export function probeImage(): Uint8Array {
  const image = new Uint8Array(PROBE_IMAGE_BYTES);
  image.set(PROBE_CODE, 0);
  image.set(RESET_VECTOR.code, RESET_VECTOR.offset);
  return image;
}

/**
 * The arguments of `qemu-system-x86_64` that run the probe guest: 16-bit and 32-bit code without paging, as the
 * integrity guest is. Its output comes on standard output. Give it `PROBE_TIMEOUT_MS` of time and kill it then.
 */
export function kvmProbeArgv(imagePath: string, accel: Accel = "kvm"): string[] {
  const argv = [...probeMachine(accel, 16), "-bios", imagePath];
  argv.push("-chardev", "stdio,id=out,signal=off", "-device", "isa-debugcon,iobase=0xe9,chardev=out");
  argv.push("-device", `isa-debug-exit,iobase=0xf4,iosize=1`);
  return argv;
}

/** The machine that a probe is run on, with so many MiB of memory. */
function probeMachine(accel: Accel, memory_mib: number): string[] {
  const argv = ["-name", "ferryman-probe", "-nodefaults", "-no-user-config", "-display", "none", "-vga", "none"];
  return [...argv, "-machine", "q35", "-accel", accel, "-cpu", CPU_MODEL, "-m", String(memory_mib), "-no-reboot"];
}

/** The first thing that QEMU itself complains of. */
function complaintIn(lines: readonly string[]): string | undefined {
  return lines
    .filter(
      (line) => line.startsWith("qemu-system") && !line.includes("warning:") && !line.includes("terminating on signal"),
    )
    .map((line) => line.replace(/^qemu-system-\w+: /, ""))[0];
}

/** Bound on the probe, which took 0.1 to 0.5 s on emulating nested KVM. */
export const PROBE_TIMEOUT_MS = 5000;

/**
 * Whether the probe guest ran under KVM, from everything that QEMU wrote to standard output and error, and its exit code;
 * `null` when it had to be killed.
 */
export function judgeProbe(output: string, exitCode: number | null): ProbeResult {
  const lines = output.split(/\r?\n/);
  const whole = lines.some((line) => line.includes(PROBE_OUTPUT));
  if (whole && exitCode === PROBE_EXIT_CODE) return { ran: true, why: "a guest ran under KVM" };
  const complaint = complaintIn(lines);
  if (complaint !== undefined) return { ran: false, why: `QEMU says: ${complaint}` };
  if (whole) return { ran: false, why: `the probe guest ran, but QEMU ended with code ${exitCode ?? "none"}` };
  const how = exitCode === null ? "and was killed when its time was up" : `and QEMU ended with code ${exitCode}`;
  if (/^16 32 /m.test(output)) return { ran: false, why: `the probe guest computed wrongly ${how}` };
  if (/^16 /m.test(output)) return { ran: false, why: `the probe guest ran 16-bit code and no 32-bit code ${how}` };
  return { ran: false, why: `the probe guest ran no instruction ${how}` };
}

/** What a Linux guest boots, and the words on its console by which it has. */
export interface LinuxProbe {
  readonly kernel: string;
  readonly initrd: string;
  readonly append: string;
  readonly up: RegExp;
}

/** Where the probe's guest writes its console. */
export const LINUX_PROBE_CONSOLE = "/tmp/ferryman-probe-console";
/** A kernel that runs on a processor says something at once; one that gets on may take so long, on a busy machine. */
export const LINUX_PROBE_MS = { silent: 3_000, most: 20_000 } as const;

/** The arguments of `qemu-system-x86_64` that boot a Linux under KVM, 64-bit code with paging: what emulated KVM does not run. */
export function linuxProbeArgv({ kernel, initrd, append }: LinuxProbe, accel: Accel = "kvm"): string[] {
  const argv = probeMachine(accel, 256);
  argv.push("-kernel", kernel, "-initrd", initrd, "-append", append, "-serial", `file:${LINUX_PROBE_CONSOLE}`);
  return argv;
}

/** Whether the Linux came up, from what its console has and what QEMU said. */
export function judgeLinuxProbe(console: string, said: string, { up }: Pick<LinuxProbe, "up">): ProbeResult {
  if (up.test(console)) return { ran: true, why: "a Linux kernel came up under KVM" };
  const complaint = complaintIn(said.split("\n"));
  if (complaint !== undefined) return { ran: false, why: `QEMU says of a Linux kernel: ${complaint}` };
  const last = console.trimEnd().split("\n").at(-1) ?? "";
  return {
    ran: false,
    why: last === "" ? "a Linux kernel says nothing under KVM" : `a Linux kernel came no further than: ${last.trim()}`,
  };
}
