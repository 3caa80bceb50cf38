import { readFileSync, statfsSync } from "node:fs";
import { freemem, tmpdir } from "node:os";
import { join } from "node:path";
import type Docker from "dockerode";
import { UserError } from "../base/errors.ts";
import { INSTALLED } from "../base/myself.ts";
import { clean } from "../fleet/clean.ts";
import { ensureEngine } from "../fleet/engine.ts";
import { ensureImages, ensureStorageImage, imageState } from "../fleet/images.ts";
import { probeKvm, probeLinux, probeUserfaultfd } from "../fleet/probe.ts";
import { type AccelAsked, type AccelChoice, chooseAccel, type ProbeResult } from "../qemu/accel.ts";
import type { Guest } from "./guests/index.ts";
import { LINUX_PROBE } from "./guests/linux-probe.ts";
import { goFirst } from "./priority.ts";
import type { RunEnvironment, RunRequest } from "./request.ts";

/** Where runs are written: in the repository, or in the project that has Ferryman installed. */
export const RUNS_FOLDER = join(
  INSTALLED ? process.cwd() : join(import.meta.dirname, "..", ".."),
  ...["reports", "runs"],
);

/** Says something about what goes on, on standard error: standard output belongs to results. */
export function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

export interface Prepared {
  readonly docker: Docker;
  readonly host_image: string;
  readonly toxiproxy_image: string;
  readonly qemu_version: string;
  readonly libvirt_version?: string;
}

const BAR_WIDTH = 30;

/**
 * Finds or installs the engine, removes what earlier runs left behind, and finds or builds the images.
 * @param options `libvirt`: of hosts that have it
 */
export async function prepareImages(
  qemu: string,
  { libvirt = false }: { readonly libvirt?: boolean } = {},
): Promise<Prepared> {
  const docker = await ensureEngine({ mayInstall: true, say });
  const { containers, networks } = await clean(docker, { all: false });
  if (containers.length + networks.length > 0) {
    say(`removed what an earlier run left behind: ${[...containers, ...networks].join(", ")}`);
  }
  if ((await imageState(docker, qemu)).some(({ found }) => !found)) checkDisk();
  const tty = process.stderr.isTTY === true;
  let shown = "";
  const images = await ensureImages(docker, {
    qemu,
    libvirt,
    say,
    progress: ({ image, step, fraction }) => {
      const full = Math.round(fraction * BAR_WIDTH);
      const bar = `[${"#".repeat(full)}${".".repeat(BAR_WIDTH - full)}] ${image}: ${step}`;
      if (tty) process.stderr.write(`\r\x1b[2K${bar}${fraction >= 1 ? "\n" : ""}`);
      else if (bar !== shown) say(bar);
      shown = bar;
    },
  });
  const { host, toxiproxy, qemu_version, libvirt_version } = images;
  const known = { docker, host_image: host, toxiproxy_image: toxiproxy, qemu_version };
  return libvirt_version === undefined ? known : { ...known, libvirt_version };
}

/** Of a run that a program asked for there is no command, and what tells it from others of its scenario. */
function calledWith(_: RunEnvironment, { recovery, accel, memory_bytes, seed }: RunRequest): string {
  return `(no command: a program asked for it, with ${recovery}, ${accel}, ${memory_bytes / 1024 ** 2} MiB, seed ${seed})`;
}

/**
 * Everything that runs of one command share.
 * @param options `target_qemu`: of target and escrow, where it is another one; `libvirt`: hosts have it too; `storage`: some run has disks; `images`: some has images of the user's;
 *   `commandOf`: the grammar of who asks
 */
export async function prepareRuns(
  qemu: string,
  signal: AbortSignal,
  options: {
    readonly target_qemu?: string;
    readonly libvirt?: boolean;
    readonly storage?: boolean;
    readonly images?: boolean;
    readonly commandOf?: RunEnvironment["commandOf"];
  } = {},
): Promise<RunEnvironment> {
  const { target_qemu = qemu, libvirt = false, storage = false, images = false, commandOf = calledWith } = options;
  const { docker, host_image, toxiproxy_image, qemu_version, libvirt_version } = await prepareImages(qemu, { libvirt });
  const target = target_qemu === qemu ? undefined : await prepareImages(target_qemu, { libvirt });
  const storage_image = storage ? await ensureStorageImage(docker, { say, signal }) : undefined;
  const images_image = images ? await ensureStorageImage(docker, { say, signal, images }) : undefined;
  const userfaultfd = await probeUserfaultfd(docker, host_image);
  if (!userfaultfd.ok) {
    throw new UserError(
      `QEMU cannot do post-copy on this machine. ${userfaultfd.detail}; ${userfaultfd.mend ?? "see doctor"}.`,
    );
  }
  const engine = await docker.version();
  // Only now: an engine that was started on the way would hand its place on to every host.
  goFirst();
  return {
    docker,
    host_image,
    toxiproxy_image,
    ...(storage_image === undefined ? {} : { storage_image }),
    ...(images_image === undefined ? {} : { images_image }),
    qemu,
    qemu_version,
    qemu_binary: "qemu-system-x86_64",
    ...(target === undefined
      ? {}
      : { target: { qemu: target_qemu, host_image: target.host_image, qemu_version: target.qemu_version } }),
    versions: {
      ferryman: packageVersion(),
      node: process.version,
      engine: engine.Version,
      kernel: engine.KernelVersion ?? "unknown",
      host_image,
      ...(target === undefined ? {} : { target_host_image: target.host_image }),
      ...(libvirt_version === undefined ? {} : { libvirt: libvirt_version }),
      ...(target?.libvirt_version === undefined ? {} : { target_libvirt: target.libvirt_version }),
      toxiproxy_image,
      ...(storage_image === undefined ? {} : { storage_image }),
      ...(images_image === undefined ? {} : { images_image }),
    },
    runs_folder: RUNS_FOLDER,
    commandOf,
    signal,
  };
}

/**
 * The accelerator for a guest. Nested KVM without hardware support passes the probe, which is bare metal, and yet boots no
 * Linux: any guest but the integrity guest has a Linux kernel tried as well, where that has to be known.
 * @throws UserError when KVM was asked for and does not run it
 */
export async function accelFor(
  { docker, host_image }: RunEnvironment,
  guest: Guest,
  asked: AccelAsked,
): Promise<AccelChoice> {
  const bare = (): Promise<ProbeResult> => probeKvm(docker, host_image);
  // Of one of the user's that is to run under KVM nobody knows what it is.
  if (guest === "integrity" || (guest !== "linux" && asked === "kvm")) return await chooseAccel(asked, bare);
  return await chooseAccel(asked, async () => {
    const found = await bare();
    return found.ran ? await probeLinux(docker, host_image, LINUX_PROBE) : found;
  });
}

export function packageVersion(): string {
  const text = readFileSync(join(import.meta.dirname, "..", "..", "package.json"), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}

/** What a run takes beside the guest's memory: QEMU itself twice, an agent on each host, Toxiproxy. */
const RUN_SPARE_BYTES = 512 * 1024 ** 2;

/**
 * @throws UserError when the machine has not memory enough for so many runs at a time. A run holds the guest's memory on two hosts.
 */
export function checkMemory(memory_bytes: number, jobs: number): void {
  const needed = jobs * (2 * memory_bytes + RUN_SPARE_BYTES);
  const free = availableMemory();
  if (needed > free) {
    const mib = (bytes: number): string => `${Math.round(bytes / 1024 ** 2)} MiB`;
    throw new UserError(
      `${jobs} run(s) at a time with a guest of ${mib(memory_bytes)} need ${mib(needed)} of memory, and ${mib(free)} are available: ask for less with --memory or --jobs.`,
    );
  }
}

const HUGE_PAGE_BYTES = 2 * 1024 ** 2;

/** @throws UserError when the machine has not huge pages enough for so many runs at a time: each has the guest's memory twice. */
export function checkHugePages(memory_bytes: number, jobs: number): void {
  const needed = Math.ceil(memory_bytes / HUGE_PAGE_BYTES) * 2 * jobs;
  const [free, all] = ["HugePages_Free", "HugePages_Total"].map((name) => {
    const found = new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(readFileSync("/proc/meminfo", "utf8"));
    return Number(found?.[1] ?? 0);
  });
  if (free !== undefined && all !== undefined && free < needed)
    throw new UserError(
      `--ram hugetlbfs needs ${needed} free huge pages of 2 MiB, and this machine has ${free}: make more of them (as root: echo ${all - free + needed} > /proc/sys/vm/nr_hugepages).`,
    );
}

/** What building the images takes at its height. */
export const DISK_NEEDED_BYTES = 3 * 1024 ** 3;

function checkDisk(): void {
  const { bavail, bsize } = statfsSync(tmpdir());
  const free = bavail * bsize;
  if (free >= DISK_NEEDED_BYTES) return;
  const gib = (bytes: number): string => `${(bytes / 1024 ** 3).toFixed(1)} GiB`;
  throw new UserError(
    `Building the images takes about ${gib(DISK_NEEDED_BYTES)}, and ${tmpdir()} has ${gib(free)} free: make room there.`,
  );
}

function availableMemory(): number {
  try {
    const found = /^MemAvailable:\s+(\d+) kB/m.exec(readFileSync("/proc/meminfo", "utf8"));
    if (found) return Number(found[1]) * 1024;
  } catch {
    // Not a Linux machine: what the system calls free has to do.
  }
  return freemem();
}
