import * as z from "zod";

/** Words of a migration's switchover; `after_ms` is counted from the beginning of the pre-copy phase. */
export const SWITCHOVER_WORDS = ["at-once", "after-one-pass", "never"] as const;
export const SWITCHOVER_AFTER_MS_MAX = 3_600_000;
export const VCPUS_MAX = 255;

export const switchoverSchema = z.union([
  z.enum(SWITCHOVER_WORDS),
  z.strictObject({ after_ms: z.int().min(0).max(SWITCHOVER_AFTER_MS_MAX) }),
]);

/**
 * When to switch over: with the first page (pure post-copy), after one pass over all memory, so long after the beginning,
 * or never: then the migration completes by pre-copy alone.
 */
export type Switchover = z.infer<typeof switchoverSchema>;

/** Capabilities and parameters have QAPI's names; which of them a QEMU has, it says itself. */
export const QAPI_NAME = /^[a-z][a-z0-9-]*$/;
const qapiName = z.string().regex(QAPI_NAME);

export const RAM_KINDS = ["file", "memfd", "hugetlbfs"] as const;
/** Models of the VM's network card. */
export const NETS = ["virtio", "e1000e"] as const;
export type Net = (typeof NETS)[number];
/** What the guest does with a disk: records by O_DIRECT, or files on a file system, with fsync. */
export const DISK_KINDS = ["raw", "ext4"] as const;
export type DiskKind = (typeof DISK_KINDS)[number];
export const DISK_FORMATS = ["raw", "qcow2"] as const;
export type DiskFormat = (typeof DISK_FORMATS)[number];
/** What disks are for the guest: a virtio device each, or units of one virtio-scsi controller. */
export const DISK_BUSES = ["blk", "scsi"] as const;
export type DiskBus = (typeof DISK_BUSES)[number];
/** By its kind alone it is raw: QEMU's node is the export. A qcow2 lies inside of the export, and QEMU reads it there. */
const diskSchema = z.union([
  z.enum(DISK_KINDS),
  z.strictObject({ kind: z.enum(DISK_KINDS), format: z.literal("qcow2") }).readonly(),
]);
export type DiskAsked = z.infer<typeof diskSchema>;

/** A disk of the Linux guest. */
export interface GuestDisk {
  readonly kind: DiskKind;
  readonly format: DiskFormat;
}

/** The disks of the Linux guest, each with all that it is. */
export function disksOf({ disks = [] }: Configuration): readonly GuestDisk[] {
  return disks.map((disk) => (typeof disk === "string" ? { kind: disk, format: "raw" } : disk));
}

function diskWords({ kind, format }: GuestDisk): string {
  return format === "raw" ? kind : `${kind} in ${format}`;
}

/** As the command line takes it. */
export function diskText(disk: DiskAsked): string {
  return typeof disk === "string" ? disk : `${disk.kind},format=${disk.format}`;
}
/** fixtures/guests/linux/src/guest.h, DISKS_MAX. */
export const DISKS_MAX = 4;
export const MACHINES = ["q35", "pc"] as const;
export const TRANSPORTS = ["tcp", "unix"] as const;
const words = z.array(z.string()).readonly();

/**
 * What drives a stock migration: the harness over QMP, eager to recover it; one that takes a paused post-copy for a failed
 * one (KubeVirt's policy); the real libvirt, which by itself resumes nothing; and libvirt with an operator who resumes.
 */
export const MANAGERS = ["qmp", "none", "libvirt", "libvirt:resume"] as const;
export type Manager = (typeof MANAGERS)[number];
export const MANAGER_PATIENCE_MS_MAX = 600_000;
export const STORAGE_PATIENCE_MS_DEFAULT = 60_000;
export const STORAGE_PATIENCE_MS_MAX = 3_600_000;

/** Whether the hosts have a libvirt that drives. */
export function isLibvirt(manager: Manager | undefined): manager is "libvirt" | "libvirt:resume" {
  return manager?.startsWith("libvirt") === true;
}

/** An image file of the user's on this machine, as a disk of the VM. Nothing is ever written to it. */
const imageSchema = z.strictObject({ path: z.string().min(1), format: z.enum(DISK_FORMATS) }).readonly();
export type DiskImage = z.infer<typeof imageSchema>;

export const PROBES_MAX = 8;
const port = z.int().min(1).max(65_535);
const pattern = z
  .string()
  .min(1)
  .refine((text) => {
    try {
      new RegExp(text);
      return true;
    } catch {
      return false;
    }
  }, "no regular expression");
/**
 * How one sees that a guest of which nothing is known lives: a line of its console (a number in a group of the pattern is
 * a counter), an answer to a command on its second serial line, a TCP port that is open, an HTTP server that answers.
 */
const probeSchema = z.union([
  z.strictObject({ console: pattern }),
  z.strictObject({ serial: z.string().min(1), answer: pattern }),
  z.strictObject({ tcp: port }),
  z.strictObject({ http: port, path: z.string().startsWith("/") }),
]);
export type Probe = Readonly<z.infer<typeof probeSchema>>;

/** As the command line takes it. */
export function probeText(probe: Probe): string {
  if ("console" in probe) return `console=${probe.console}`;
  if ("serial" in probe) return `serial=${probe.serial} => ${probe.answer}`;
  return "tcp" in probe ? `tcp=${probe.tcp}` : `http=${probe.http}${probe.path}`;
}

/** The fields of a configuration; what is absent is as it is by itself. */
export const CONFIGURATION_FIELDS = {
  /** Migration capabilities beside `postcopy-ram`, on both sides, in every migration of the run. */
  capabilities: z.exactOptional(z.record(qapiName, z.boolean()).readonly()),
  /** Migration parameters, on both sides, in every migration of the run. */
  parameters: z.exactOptional(z.record(qapiName, z.union([z.boolean(), z.number(), z.string()])).readonly()),
  /** QEMU of the source, and of the target and the escrow; absent: the run's QEMU. The machine type is the older one's. */
  source_qemu: z.exactOptional(z.string()),
  target_qemu: z.exactOptional(z.string()),
  /** Further arguments of every QEMU, and of those on one host. */
  qemu_args: z.exactOptional(words),
  source_qemu_args: z.exactOptional(words),
  target_qemu_args: z.exactOptional(words),
  vcpus: z.exactOptional(z.int().min(1).max(VCPUS_MAX)),
  machine: z.exactOptional(z.enum(MACHINES)),
  /** As `-cpu` takes it. */
  cpu: z.exactOptional(z.string().min(1)),
  /** The VM's network card, with a world outside and a client in it; absent: it has none. */
  net: z.exactOptional(z.enum(NETS)),
  /** What guest RAM is: a file on a tmpfs, a memfd, or huge pages. */
  ram: z.exactOptional(z.enum(RAM_KINDS)),
  /** Disks of the VM, in their order, and what the guest does with each. A host of their own exports them. */
  disks: z.exactOptional(z.array(diskSchema).min(1).max(DISKS_MAX).readonly()),
  /** What the VM's disks are for the guest; absent: virtio-blk. */
  disk_bus: z.exactOptional(z.enum(DISK_BUSES)),
  /** Of a custom guest. Its disks, in their order; what it boots from, where that is not the first of them: files here. */
  images: z.exactOptional(z.array(imageSchema).min(1).max(DISKS_MAX).readonly()),
  kernel: z.exactOptional(z.string().min(1)),
  initrd: z.exactOptional(z.string().min(1)),
  append: z.exactOptional(z.string().min(1)),
  /** A file of user data for cloud-init, which the guest finds on a disk of its own behind the others (NoCloud). */
  cloud_init: z.exactOptional(z.string().min(1)),
  /** A folder with a booted VM to start from; it is made where it is not there. */
  snapshot: z.exactOptional(z.string().min(1)),
  probes: z.exactOptional(z.array(probeSchema).min(1).max(PROBES_MAX).readonly()),
  /** For so long a storage that does not answer is waited for; then the guest's I/O fails, and QEMU stops the VM. Whole seconds. */
  storage_patience_ms: z.exactOptional(z.int().min(1_000).max(STORAGE_PATIENCE_MS_MAX).multipleOf(1_000)),
  /** Over the scenario's own bound for what is pushed in the background. */
  bandwidth_bytes_per_s: z.exactOptional(z.int().min(1)),
  /** Over the scenario's own. */
  switchover: z.exactOptional(switchoverSchema),
  /** What QEMU connects by; a Unix socket is carried over the link by a process on each host, as libvirt does. */
  transport: z.exactOptional(z.enum(TRANSPORTS)),
  /** The stream is encrypted, with a key that both sides have been given. */
  tls: z.exactOptional(z.literal("psk")),
  /** What drives the migration under stock; absent: `qmp`. */
  manager: z.exactOptional(z.enum(MANAGERS)),
  /** For so long a manager that recovers at all tries to, before it gives the VM up. */
  manager_patience_ms: z.exactOptional(z.int().min(1).max(MANAGER_PATIENCE_MS_MAX)),
};

/**
 * How QEMUs of a run and their migration are set up, where that is not Ferryman's own choice: plain data that a scenario
 * carries and the command line changes.
 */
export const configurationSchema = z.strictObject(CONFIGURATION_FIELDS).readonly();
export type Configuration = z.infer<typeof configurationSchema>;

/** One configuration over another: what both name is the second's, capabilities and parameters one by one. */
export function mergeConfigurations(under: Configuration = {}, over: Configuration = {}): Configuration {
  const both = <Key extends "capabilities" | "parameters">(key: Key): Pick<Configuration, Key> | object =>
    under[key] === undefined && over[key] === undefined ? {} : { [key]: { ...under[key], ...over[key] } };
  return { ...under, ...over, ...both("capabilities"), ...both("parameters") };
}

/** What is configured, each in a few words, for people; but for the manager, which stands beside the recovery. */
export function configurationTexts(configuration: Configuration): readonly string[] {
  const { capabilities = {}, parameters = {}, switchover, bandwidth_bytes_per_s } = configuration;
  const { source_qemu, target_qemu, qemu_args, source_qemu_args, target_qemu_args } = configuration;
  const { vcpus, machine, cpu, net, ram, disks, transport, tls, manager_patience_ms, storage_patience_ms } =
    configuration;
  const { images = [], kernel, initrd, append, cloud_init, snapshot, probes = [], disk_bus } = configuration;
  const said = (what: string, value: string | number | undefined): string[] =>
    value === undefined ? [] : [`${what} ${value}`];
  return [
    ...Object.entries(capabilities).map(([name, on]) => (on ? name : `${name} off`)),
    ...Object.entries(parameters).map(([name, value]) => `${name}=${value}`),
    ...said("source QEMU", source_qemu),
    ...said("target QEMU", target_qemu),
    ...said("QEMU with", qemu_args?.join(" ")),
    ...said("source QEMU with", source_qemu_args?.join(" ")),
    ...said("target QEMU with", target_qemu_args?.join(" ")),
    ...said("vCPUs", vcpus),
    ...said("machine", machine),
    ...said("CPU", cpu),
    ...said("network card", net),
    ...said("RAM", ram),
    ...said("disks", disks && disksOf({ disks }).map(diskWords).join(", ")),
    ...images.map(({ path, format }) => `disk ${path} (${format})`),
    ...said("disks by virtio", disk_bus),
    ...said("kernel", kernel),
    ...said("initrd", initrd),
    ...said("append", append),
    ...said("cloud-init", cloud_init),
    ...said("from the snapshot", snapshot),
    ...probes.map((probe) => `probe ${probeText(probe)}`),
    ...(storage_patience_ms === undefined ? [] : [`their storage is waited for ${storage_patience_ms} ms`]),
    ...(bandwidth_bytes_per_s === undefined ? [] : [`at most ${bandwidth_bytes_per_s / 1024 ** 2} MiB/s`]),
    ...said("switchover", switchover === undefined ? undefined : switchoverText(switchover)),
    ...said("transport", transport),
    ...said("TLS", tls),
    ...(manager_patience_ms === undefined ? [] : [`the manager tries for ${manager_patience_ms} ms`]),
  ];
}

/** As the command line takes it. */
export function switchoverText(switchover: Switchover): string {
  return typeof switchover === "string" ? switchover : `after=${switchover.after_ms}`;
}
