import {
  type Configuration,
  diskText,
  isLibvirt,
  type Manager,
  mergeConfigurations,
  probeText,
  type Switchover,
  switchoverText,
} from "../base/configuration.ts";
import { UserError } from "../base/errors.ts";
import type { Recovery } from "../base/run-record.ts";
import { STORAGE } from "../base/timeline.ts";
import { isOwnFault, strikesAgent, whereOf } from "../faults/index.ts";
import { parseVersion } from "../qemu/versions.ts";
import { hasImages } from "./custom/image-disks.ts";
import { checkImage, checkReadable } from "./custom/image-file.ts";
import { type Guest, guestName } from "./guests/index.ts";
import { neverComes } from "./hopeless.ts";
import type { RunEnvironment, RunRequest } from "./request.ts";
import type { MigrationPlan } from "./scenario.ts";

/** What a run is configured to: what was asked for, over what the scenario needs. */
export function configurationOf({
  scenario,
  configuration,
}: Pick<RunRequest, "scenario" | "configuration">): Configuration {
  return mergeConfigurations(scenario.configuration, configuration);
}

/** What drives the run's migration; undefined where agents do. */
export function managerOf(request: Pick<RunRequest, "scenario" | "configuration" | "recovery">): Manager | undefined {
  return request.recovery === "stock" ? (configurationOf(request).manager ?? "qmp") : undefined;
}

/** A migration as it is carried out. */
export interface SettledPlan extends MigrationPlan {
  readonly switchover: Switchover;
}

export function planOf(request: Pick<RunRequest, "scenario" | "configuration" | "recovery">): SettledPlan {
  const { migration } = request.scenario;
  const { switchover, bandwidth_bytes_per_s } = configurationOf(request);
  const own = migration.switchover;
  return {
    ...migration,
    switchover: switchover ?? (typeof own === "object" && "stock" in own ? own[request.recovery] : own),
    bandwidth_bytes_per_s: bandwidth_bytes_per_s ?? migration.bandwidth_bytes_per_s,
  };
}

/** `q35` and `pc` mean another machine in each version: where the two sides differ, the older one's is named. */
export function machineTypeOf(environment: RunEnvironment, { machine = "q35" }: Configuration): string {
  const { target } = environment;
  if (target === undefined || target.qemu_version === environment.qemu_version) return machine;
  const [a, b] = [parseVersion(environment.qemu_version), parseVersion(target.qemu_version)];
  const { major, minor } = a.major < b.major || (a.major === b.major && a.minor <= b.minor) ? a : b;
  return `${machine === "pc" ? "pc-i440fx" : "pc-q35"}-${major}.${minor}`;
}

/** Further arguments of the QEMU on a host. */
export function extraArgsOf(configuration: Configuration, side: "source" | "target" | "escrow"): readonly string[] {
  const { qemu_args = [], source_qemu_args = [], target_qemu_args = [] } = configuration;
  // A VM that goes to the escrow's host goes there in the target's place.
  return [...qemu_args, ...(side === "source" ? source_qemu_args : target_qemu_args)];
}

const PARAMETERS_OF_OPTIONS: Readonly<Record<string, string>> = {
  "max-bandwidth": "--bandwidth",
  "max-postcopy-bandwidth": "--bandwidth",
  "tls-creds": "--tls",
};

const CAPABILITIES_OF_OPTIONS: Readonly<Record<string, string>> = {
  "postcopy-ram": "whether the migration is one by post-copy is said by --switchover",
  events: "Ferryman follows a migration by its events: they are always on",
};

const CHANNELS = ["multifd", "postcopy-preempt", "zero-copy-send"];
const COMPRESSION = ["compress", "xbzrle", "multifd-compression"];

/** The integrity guest's look at its memory knows where q35 puts it; up to here every machine puts it in one piece. */
const PC_MEMORY_MAX = 2_816 * 1024 ** 2;

/**
 * What no QEMU needs to be asked for.
 * @throws UserError for a configuration that cannot work.
 */
export function checkConfiguration(
  request: Pick<RunRequest, "scenario" | "configuration" | "recovery" | "guest" | "memory_bytes">,
): void {
  const { scenario, recovery, guest, memory_bytes } = request;
  const configuration = configurationOf(request);
  const { capabilities = {}, parameters = {}, machine, net, ram, disks } = configuration;
  const [disk] = disks ?? [];
  if (disk !== undefined && guest !== "linux")
    throw new UserError(
      guest === "custom"
        ? `A disk ${diskText(disk)} is for what the Linux guest does with it: give the custom guest an image file with --disk.`
        : `The ${guest} guest does nothing with disks: take --guest linux with --disk.`,
    );
  if (configuration.disk_bus !== undefined && disk === undefined && !hasImages(configuration))
    throw new UserError("--disk-bus says what the VM's disks are, and it has none: give it one with --disk.");
  if (guest === "custom") checkCustom(request, configuration);
  else refuseCustoms(configuration, guest);
  const has_disks = disks !== undefined || hasImages(configuration);
  for (const name of Object.keys(capabilities)) {
    const why = CAPABILITIES_OF_OPTIONS[name];
    if (why !== undefined) throw new UserError(`The capability ${name} cannot be set: ${why}.`);
  }
  for (const name of Object.keys(parameters)) {
    const option = PARAMETERS_OF_OPTIONS[name];
    if (option !== undefined) throw new UserError(`The parameter ${name} is set by ${option}.`);
  }
  if (machine === "pc" && guest === "integrity" && memory_bytes >= PC_MEMORY_MAX)
    throw new UserError(
      `The integrity guest on the machine pc has less than ${PC_MEMORY_MAX / 1024 ** 2} MiB of memory: ask for less with --memory.`,
    );
  if (net !== undefined && guest !== "linux" && guest !== "custom")
    throw new UserError(`The ${guest} guest has no driver for a network card: ask for --guest linux with --net.`);
  if (ram === "hugetlbfs" && memory_bytes % (2 * 1024 ** 2) !== 0)
    throw new UserError("With --ram hugetlbfs the guest's memory is a multiple of 2 MiB.");
  const manager = managerOf(request);
  if (has_disks && scenario.afterwards === "migrate-protected")
    throw new UserError(
      `${scenario.id} cannot be had with --disk: the agents of its second migration do not take the disks over yet.`,
    );
  if (recovery === "stock") checkWithoutAgents(scenario);
  if (!has_disks) checkWithoutDisks(scenario);
  if (isLibvirt(manager)) checkUnderLibvirt(request, configuration, manager);
  else checkWithoutLibvirt(request.scenario);
  if (recovery === "txsync")
    checkUnderTxsync(configuration, planOf(request).switchover, recovery, request.configuration);
  const never = neverComes(scenario.faults, recovery);
  if (never !== undefined)
    throw new UserError(
      `With --recovery ${recovery} ${never}. Choose another moment: list --steps tells when each comes, and under which recovery alone.`,
    );
}

/** What an agent is, or has: where there is none it could not strike, and the run would prove nothing. */
function checkWithoutAgents({ faults }: RunRequest["scenario"]): void {
  for (const { fault } of faults) {
    if (isOwnFault(fault)) continue;
    const with_txsync = "run it with --recovery txsync";
    if (strikesAgent(fault))
      throw new UserError(
        `The fault ${fault.fault} (${whereOf(fault)}) strikes an agent, and stock QEMU has none: ${with_txsync}.`,
      );
    if ("process" in fault && fault.host === "escrow")
      throw new UserError(
        `The fault ${fault.fault} (${whereOf(fault)}) strikes a QEMU on the escrow, and stock QEMU has none there: ${with_txsync}.`,
      );
  }
}

function checkWithoutDisks({ faults }: RunRequest["scenario"]): void {
  const ofDisks = faults.find(
    ({ fault }) =>
      !isOwnFault(fault) &&
      (fault.fault === "kill-storage" ||
        (fault.fault === "fill" && fault.host === STORAGE) ||
        ("link" in fault && fault.link.endsWith("-storage")) ||
        ("process" in fault && fault.process === "disks")),
  );
  if (ofDisks !== undefined)
    throw new UserError(
      `The fault ${ofDisks.fault.fault} (${whereOf(ofDisks.fault)}) breaks what only a VM with disks has: give it one, with --guest linux --disk raw.`,
    );
}

/** What is for a guest of the user's is refused with any other, never left out. */
function refuseCustoms(configuration: Configuration, guest: Guest): void {
  const { images, kernel, initrd, append, cloud_init, snapshot, probes } = configuration;
  const said = {
    "--disk <file>": images,
    "--kernel": kernel,
    "--initrd": initrd,
    "--append": append,
  };
  const all = { ...said, "--cloud-init": cloud_init, "--snapshot": snapshot, "--probe": probes };
  const found = Object.entries(all).find(([, value]) => value !== undefined);
  if (found !== undefined)
    throw new UserError(`${found[0]} is for a guest of yours: say --guest custom, not ${guestName(guest)}.`);
}

/** @throws UserError where nothing boots, nothing could tell that it lives, or a file is not what it has to be */
function checkCustom(
  { scenario }: Pick<RunRequest, "scenario">,
  { images = [], kernel, initrd, append, cloud_init, probes = [], net, snapshot }: Configuration,
): void {
  if (kernel === undefined && images.length === 0)
    throw new UserError("The custom guest has nothing to boot: give it --disk <image>, or --kernel.");
  if (kernel === undefined && (initrd !== undefined || append !== undefined))
    throw new UserError("--initrd and --append go with --kernel: what boots from a disk has its own.");
  if (probes.length === 0 && scenario.client === undefined)
    throw new UserError(
      "Nothing tells whether the custom guest lives: give it a --probe (console=<pattern>, 'serial=<command> => <pattern>', tcp=<port>, http=<port>/<path>), or a scenario file with a client.",
    );
  if (probes.length === 0 && snapshot !== undefined)
    throw new UserError(
      "--snapshot keeps the VM as it is when it has answered each --probe, and there is none: without one it would be kept before it has booted.",
    );
  const by_network = probes.find((probe) => "tcp" in probe || "http" in probe);
  if (net === undefined && (by_network !== undefined || scenario.client !== undefined))
    throw new UserError(
      `${by_network === undefined ? "A client" : `The probe ${probeText(by_network)}`} reaches the guest by a network card: ask for one with --net virtio.`,
    );
  for (const image of images) checkImage(image);
  for (const file of [kernel, initrd, cloud_init]) if (file !== undefined) checkReadable(file);
}

/** libvirt has its own mind about QEMU's arguments and capabilities: what it is not told here is refused, never left out. */
function checkUnderLibvirt(
  { scenario, guest }: Pick<RunRequest, "scenario" | "guest">,
  configuration: Configuration,
  manager: Manager,
): void {
  const {
    capabilities = {},
    parameters = {},
    tls,
    transport = "tcp",
    ram = "file",
    cpu,
    disk_bus,
    net,
  } = configuration;
  const { source_qemu_args: of_source, target_qemu_args: of_target } = configuration;
  const refuse = (what: string, why: string): never => {
    throw new UserError(`${what} cannot be had with --manager ${manager}: ${why}.`);
  };
  for (const name of [...Object.keys(capabilities), ...Object.keys(parameters)])
    refuse(name, "libvirt chooses QEMU's capabilities and parameters by itself");
  if (tls !== undefined) refuse(`--tls ${tls}`, "libvirt takes certificates, and none are made here");
  if (transport !== "tcp") refuse(`--transport ${transport}`, "libvirt has QEMU connect by TCP");
  if (ram !== "file") refuse(`--ram ${ram}`, "its domain has guest RAM in a file, where the harness can read it");
  if (disk_bus === "scsi") refuse("--disk-bus scsi", "its domain has its disks as virtio-blk");
  if (net !== undefined) refuse("--net", "its domain has no network card yet");
  if (cpu !== undefined) refuse("--cpu", "its domain has a CPU model of its own");
  if (of_source !== undefined || of_target !== undefined)
    refuse("Arguments of one side's QEMU alone", "the target's QEMU is started as libvirt on the source describes it");
  if (guest === "custom") refuse("--guest custom", "its domain has neither images of yours nor a network card yet");
  if (scenario.migration.hold_target === true)
    refuse(`The scenario ${scenario.id}`, "libvirt does not hold the target of a post-copy migration still");
  if (scenario.faults.some(({ fault }) => "connection" in fault && fault.connection !== undefined))
    refuse("A fault of one connection", "the connections of its stream are not told apart");
}

function checkWithoutLibvirt({ faults }: RunRequest["scenario"]): void {
  const ofLibvirt = faults.find(
    ({ fault }) => fault.fault === "kill-manager" || ("link" in fault && fault.link === "libvirt"),
  );
  if (ofLibvirt !== undefined)
    throw new UserError(
      `The fault ${ofLibvirt.fault.fault} (${whereOf(ofLibvirt.fault)}) breaks what only libvirt has: run it with --recovery stock --manager libvirt, or libvirt:resume.`,
    );
}

/** The agents write and read QEMU's migration stream themselves: what they cannot is refused, never left out. */
function checkUnderTxsync(
  configuration: Configuration,
  switchover: Switchover,
  recovery: Recovery,
  asked: Configuration | undefined,
): void {
  const { capabilities = {}, parameters = {}, tls, transport = "tcp", ram = "file" } = configuration;
  const refuse = (what: string, why: string): never => {
    throw new UserError(`${what} cannot be had with --recovery ${recovery}: ${why}.`);
  };
  if (asked?.manager !== undefined)
    refuse(`--manager ${asked.manager}`, "its agents drive the migration (a manager is for --recovery stock)");
  for (const name of [...Object.keys(capabilities), ...Object.keys(parameters)]) {
    if (CHANNELS.includes(name)) refuse(name, "its agents read and write QEMU's stream, and theirs has one channel");
    if (COMPRESSION.includes(name))
      refuse(name, "its agents read and write QEMU's stream, and theirs is not compressed");
    refuse(name, "its agents choose QEMU's capabilities and parameters by themselves");
  }
  if (tls !== undefined) refuse("TLS", "its agents read QEMU's stream, and authenticate their own connections");
  if (transport !== "tcp")
    refuse(`--transport ${transport}`, "its agents carry the stream over connections of their own");
  if (ram !== "file") refuse(`--ram ${ram}`, "its agents work on the file that is the guest's memory");
  if (switchover !== "at-once")
    refuse(
      `--switchover ${switchoverText(switchover)}`,
      "its agents switch over at once, as soon as what goes ahead (--ahead) has been copied",
    );
}
