import type { DiskBus } from "../../base/configuration.ts";
import { UserError } from "../../base/errors.ts";

const MIB = 1024 * 1024;

/** What the Linux guest is asked to do; `fixtures/guests/linux/src/settings.c` reads it from /proc/cmdline. */
export interface LinuxGuestSettings {
  /** Memory that carries the checked pattern, bytes, a whole number of MiB. */
  readonly pattern_bytes: number;
  readonly seed: number;
  /** Page rewrites per second, all workers together; an upper bound, since time lost is not made up for. */
  readonly rate_pages_per_s?: number;
  /** So much of the pattern is rewritten, bytes, a whole number of MiB; absent: all of it. */
  readonly working_set_bytes?: number;
  /** Processes that share the pattern, 1 to 8. */
  readonly workers?: number;
  /** Whether there is a network card, and a service behind it. */
  readonly network?: boolean;
  /** Between two records of a raw disk, a quarter of what lies between those of an ext4 one; 0: as fast as they go; default 5. */
  readonly disk_pace_ms?: number;
  /** Whether the kernel panics where a processor or a task stands still for some seconds. */
  readonly watchdogs?: boolean;
  /** What is done with its disks, in their order: `raw` or `ext4`. */
  readonly disks?: readonly string[];
  /** What they are; default blk. */
  readonly disk_bus?: DiskBus;
  /** More kernel parameters, each without blanks. They stand before ours, so that ours win. */
  readonly extra?: readonly string[];
}

/**
 * Kernel parameters that do not depend on the settings.
 * - `quiet` is for the boot alone; the guest's init raises the console level. `oops=panic panic=0`: damage is loud and stays.
 * - `tsc=reliable`: a pause must not make the kernel change its clock.
 * - `clearcpuid=cx16`: under TCG of QEMU 7.2 about one boot in ten panicked, with pointer bits in EFLAGS (NT set, so iret
 *   faults) after the slab allocator's cmpxchg16b; without the instruction 80 of 80 boots came up.
 * - the rest saves time under TCG.
 */
const FIXED_PARAMETERS: readonly string[] = [
  "console=ttyS0,115200",
  "quiet",
  "panic=0",
  "oops=panic",
  "tsc=reliable",
  "clearcpuid=cx16",
  "no_timer_check",
  "nokaslr",
  "mitigations=off",
  "audit=0",
  "apparmor=0",
  "selinux=0",
  "random.trust_cpu=on",
  "8250.nr_uarts=2",
];

/** A vCPU that waits for a page of a broken link is no fault of the guest's. */
const NO_WATCHDOGS: readonly string[] = ["nowatchdog", "rcupdate.rcu_cpu_stall_suppress=1"];

/**
 * A processor that has done nothing else for 10 s (twice the threshold), one that RCU has waited for as long, a task that
 * has not run for 20 s: each is a panic. There are no NMIs under TCG.
 */
const WATCHDOGS: readonly string[] = [
  "watchdog_thresh=5",
  "nmi_watchdog=0",
  "softlockup_panic=1",
  "rcupdate.rcu_cpu_stall_timeout=10",
  "sysctl.kernel.panic_on_rcu_stall=1",
  "sysctl.kernel.hung_task_timeout_secs=20",
  "sysctl.kernel.hung_task_panic=1",
];

/** The least guest memory with which the kernel, its initramfs and some pattern come up, bytes. */
export const LINUX_GUEST_MEMORY_BYTES_MIN = 128 * MIB;
/** What the kernel and the guest's other parts keep for themselves, bytes, with something to spare. */
const KERNEL_BYTES = 80 * MIB;

/**
 * How much of a guest's memory carries the pattern unless somebody asks for another amount: two thirds
 * of what the kernel leaves, in whole MiB.
 * @throws UserError when the guest is too small to boot.
 */
export function patternBytesFor(guest_bytes: number): number {
  if (!(guest_bytes >= LINUX_GUEST_MEMORY_BYTES_MIN)) {
    throw new UserError(
      `the Linux guest needs ${LINUX_GUEST_MEMORY_BYTES_MIN / MIB} MiB of memory, asked for were ${guest_bytes} bytes`,
    );
  }
  return Math.floor(((guest_bytes - KERNEL_BYTES) * 2) / 3 / MIB) * MIB;
}

/**
 * The kernel command line of the Linux guest.
 * @throws UserError when a setting is out of range, or an extra parameter holds a blank or one of our own names.
 */
export function linuxCommandLine(settings: LinuxGuestSettings): string {
  const {
    pattern_bytes,
    seed,
    rate_pages_per_s = 2000,
    working_set_bytes,
    workers = 2,
    network = false,
    watchdogs = false,
    disk_pace_ms,
    disks = [],
    disk_bus = "blk",
    extra = [],
  } = settings;
  if (pattern_bytes % MIB !== 0) {
    throw new UserError(`the Linux guest's pattern is a whole number of MiB, not ${pattern_bytes} bytes`);
  }
  inRange("pattern, MiB", pattern_bytes / MIB, 1, 1 << 20);
  inRange("seed", seed, 0, Number.MAX_SAFE_INTEGER);
  inRange("rate, pages per second", rate_pages_per_s, 0, 10_000_000);
  if (working_set_bytes !== undefined) inRange("working set, MiB", working_set_bytes / MIB, 1, pattern_bytes / MIB);
  if (disk_pace_ms !== undefined) inRange("disk pace, ms", disk_pace_ms, 0, 1_000);
  inRange("workers", workers, 1, 8);
  for (const parameter of extra) {
    if (!/^[\x21-\x7e]+$/.test(parameter) || parameter.includes("ferryman.")) {
      throw new UserError(`not a kernel parameter that can be added for the Linux guest: ${JSON.stringify(parameter)}`);
    }
  }
  const line = [
    ...extra,
    ...FIXED_PARAMETERS,
    ...(watchdogs ? WATCHDOGS : NO_WATCHDOGS),
    `ferryman.mem=${pattern_bytes / MIB}`,
    `ferryman.seed=${seed}`,
    `ferryman.rate=${rate_pages_per_s}`,
    ...(working_set_bytes === undefined ? [] : [`ferryman.set=${working_set_bytes / MIB}`]),
    `ferryman.workers=${workers}`,
    ...(network ? ["ferryman.net=1"] : []),
    ...(disk_pace_ms === undefined ? [] : [`ferryman.pace=${disk_pace_ms}`]),
    ...(disks.length === 0 ? [] : [`ferryman.disks=${disks.join(",")}`]),
    ...(disk_bus === "blk" ? [] : [`ferryman.bus=${disk_bus}`]),
  ].join(" ");
  // COMMAND_LINE_SIZE of x86 is 2048 with its final zero; the kernel cuts what is longer without a word.
  if (line.length > 2047) throw new UserError(`the Linux guest's command line has ${line.length} of 2047 bytes`);
  return line;
}

/** QEMU's arguments that boot the guest built into `directory` (`fixtures/guests/linux/build.sh`). */
export function linuxBootArguments(directory: string, settings: LinuxGuestSettings): readonly string[] {
  // vmlinux, not vmlinuz: QEMU enters it by PVH, and no time goes into unpacking the kernel under TCG.
  return [
    "-kernel",
    `${directory}/vmlinux`,
    "-initrd",
    `${directory}/initramfs`,
    "-append",
    linuxCommandLine(settings),
  ];
}

function inRange(what: string, value: number, least: number, most: number): void {
  if (Number.isSafeInteger(value) && value >= least && value <= most) return;
  throw new UserError(`the Linux guest's ${what}: a whole number from ${least} to ${most} is needed, not ${value}`);
}
