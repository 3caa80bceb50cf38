import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { type Command, InvalidArgumentError } from "commander";
import {
  CONFIGURATION_FIELDS,
  type Configuration,
  DISK_BUSES,
  DISK_FORMATS,
  DISK_KINDS,
  DISKS_MAX,
  type DiskAsked,
  type DiskBus,
  type DiskImage,
  diskText,
  MACHINES,
  MANAGERS,
  type Manager,
  NETS,
  PROBES_MAX,
  type Probe,
  probeText,
  QAPI_NAME,
  RAM_KINDS,
  SWITCHOVER_AFTER_MS_MAX,
  type Switchover,
  switchoverText,
  TRANSPORTS,
} from "../base/configuration.ts";
import { messageOf } from "../base/errors.ts";
import { quoteWord, splitWords } from "../base/words.ts";
import { formatOf } from "../run/custom/image-file.ts";
import { LIMITS } from "./limits.ts";
import { oneOf, qemuName, rangeOf, within } from "./options.ts";

/** What commander makes of the options of this file. */
export interface ConfigurationOptions {
  readonly capability?: Readonly<Record<string, boolean>>;
  readonly parameter?: Readonly<Record<string, boolean | number | string>>;
  readonly sourceQemu?: string;
  readonly targetQemu?: string;
  readonly qemuArgs?: readonly string[];
  readonly sourceQemuArgs?: readonly string[];
  readonly targetQemuArgs?: readonly string[];
  readonly smp?: number;
  readonly machine?: (typeof MACHINES)[number];
  readonly cpu?: string;
  readonly net?: (typeof NETS)[number];
  readonly ram?: (typeof RAM_KINDS)[number];
  readonly disk?: readonly (DiskAsked | DiskImage)[];
  readonly diskBus?: DiskBus;
  readonly kernel?: string;
  readonly initrd?: string;
  readonly append?: string;
  readonly cloudInit?: string;
  readonly snapshot?: string;
  readonly probe?: readonly Probe[];
  /** MiB a second. */
  readonly bandwidth?: number;
  readonly switchover?: Switchover;
  readonly transport?: (typeof TRANSPORTS)[number];
  readonly tls?: "psk";
  /** Several: side by side, each a run of its own. */
  readonly manager?: readonly Manager[];
  /** Seconds. */
  readonly managerPatience?: number;
}

/** Capabilities that people ask for most, for the help; `doctor` tells which a QEMU has. */
const FOR_EXAMPLE = ["postcopy-preempt", "multifd", "xbzrle", "auto-converge", "release-ram", "switchover-ack"];

/** Adds the options by which QEMUs and their migration are set up. */
export function addConfigurationOptions(command: Command): Command {
  return addManagerOptions(addMachineOptions(command));
}

/** Those that say what drives a stock migration. */
export function addManagerOptions(command: Command): Command {
  return command
    .option(
      "--manager <kind>",
      `stock: what drives the migration: ${MANAGERS.join(", ")}; default qmp; several with commas between run side by side`,
      managers,
    )
    .option(
      "--manager-patience <s>",
      `stock: for so long a manager tries to recover before it gives the VM up, ${rangeOf(LIMITS.manager_patience_s)}; default 4 (qmp), 20 (libvirt:resume)`,
      within(LIMITS.manager_patience_s),
    );
}

function addMachineOptions(command: Command): Command {
  return command
    .option(
      "--capability <name[=on|off]>",
      `a migration capability of QEMU's, on both sides, may be given again: ${FOR_EXAMPLE.join(", ")}, or any other (doctor tells which there are)`,
      capability,
    )
    .option("--parameter <name=value>", "a migration parameter of QEMU's, on both sides, may be given again", parameter)
    .option("--source-qemu <name>", "QEMU of the source, where the two differ (the older one's machine type)", qemuName)
    .option("--target-qemu <name>", "QEMU of the target and the escrow, where the two differ", qemuName)
    .option("--qemu-args <words>", "further arguments of every QEMU, in quotes", qemuArgs)
    .option("--source-qemu-args <words>", "further arguments of QEMU on the source", qemuArgs)
    .option("--target-qemu-args <words>", "further arguments of QEMU on target and escrow", qemuArgs)
    .option(
      "--smp <vCPUs>",
      `${rangeOf(LIMITS.vcpus)}; the integrity guest works on the first; default 1`,
      within(LIMITS.vcpus),
    )
    .option("--machine <type>", `${MACHINES.join(" or ")}; default q35`, oneOf(...MACHINES))
    .option("--cpu <model>", "CPU model, as QEMU's -cpu takes it", cpuModel)
    .option(
      "--net <card>",
      `the VM has a network card (${NETS.join(" or ")}), and a client outside talks to it: --guest linux or custom`,
      oneOf(...NETS),
    )
    .option("--ram <kind>", `what guest RAM is: ${RAM_KINDS.join(", ")}; default file`, oneOf(...RAM_KINDS))
    .option(
      "--disk <kind|file[,format=…]>",
      `a disk (${DISK_FORMATS.join(", ")}), may be given again, ${DISKS_MAX} times at most: ${DISK_KINDS.join(" or ")}, what the Linux guest does with it; or an image of yours for --guest custom, to which nothing is written`,
      disk,
    )
    .option(
      "--disk-bus <kind>",
      "the VM's disks are virtio-blk (blk, default) or virtio-scsi (scsi)",
      oneOf(...DISK_BUSES),
    )
    .option("--kernel <file>", "--guest custom: the kernel that it boots, where not from its first disk", localFile)
    .option("--initrd <file>", "--guest custom: beside --kernel", localFile)
    .option("--append <words>", "--guest custom: command line of --kernel, in quotes")
    .option("--cloud-init <file>", "--guest custom: user data, on a disk of its own (NoCloud)", localFile)
    .option(
      "--snapshot <folder>",
      "--guest custom: every run starts from the VM as it had booted once, which is kept there; made where it is not there yet",
      (text: string) => resolve(text),
    )
    .option(
      "--probe <what>",
      `--guest custom: how one sees that it lives, may be given again: ${PROBE_FORMS.join(", ")}`,
      probe,
    )
    .option(
      "--bandwidth <MiB/s>",
      `bound of what is pushed in the background, ${rangeOf(LIMITS.bandwidth_mib_per_s)}; default is the scenario's`,
      within(LIMITS.bandwidth_mib_per_s),
    )
    .option(
      "--switchover <when>",
      "at-once, after-one-pass, after=<ms>, or never (pre-copy alone); default is the scenario's",
      switchover,
    )
    .option("--transport <kind>", `${TRANSPORTS.join(" or ")}; default tcp`, oneOf(...TRANSPORTS))
    .option("--tls <kind>", "psk: the stream is encrypted, with a key that both sides share", oneOf("psk"));
}

/** What the options say, as a run takes it; of several managers nothing, for each is a run of its own. */
export function configurationFrom(options: ConfigurationOptions): Configuration {
  const { bandwidth, managerPatience } = options;
  const known = {
    capabilities: options.capability,
    parameters: options.parameter,
    source_qemu: options.sourceQemu,
    target_qemu: options.targetQemu,
    qemu_args: options.qemuArgs,
    source_qemu_args: options.sourceQemuArgs,
    target_qemu_args: options.targetQemuArgs,
    vcpus: options.smp,
    machine: options.machine,
    cpu: options.cpu,
    net: options.net,
    ram: options.ram,
    ...disksFrom(options.disk),
    disk_bus: options.diskBus,
    kernel: options.kernel,
    initrd: options.initrd,
    append: options.append,
    cloud_init: options.cloudInit,
    snapshot: options.snapshot,
    probes: options.probe,
    bandwidth_bytes_per_s: bandwidth === undefined ? undefined : bandwidth * 1024 ** 2,
    switchover: options.switchover,
    transport: options.transport,
    tls: options.tls,
    manager: options.manager?.length === 1 ? options.manager[0] : undefined,
    manager_patience_ms: managerPatience === undefined ? undefined : managerPatience * 1_000,
  };
  return Object.fromEntries(Object.entries(known).filter(([, value]) => value !== undefined)) as Configuration;
}

/** The words of a command line that say the same. */
export function configurationWords(configuration: Configuration): readonly string[] {
  const { capabilities = {}, parameters = {}, bandwidth_bytes_per_s: bandwidth, switchover } = configuration;
  const { manager_patience_ms: tries_ms } = configuration;
  const option = (name: string, value: string | number | undefined): string[] =>
    value === undefined ? [] : [`--${name} ${quoteWord(String(value))}`];
  const line = (words: readonly string[] | undefined): string | undefined => words?.map(quoteWord).join(" ");
  return [
    ...Object.entries(capabilities).flatMap(([name, on]) => option("capability", on ? name : `${name}=off`)),
    ...Object.entries(parameters).flatMap(([name, value]) => option("parameter", `${name}=${value}`)),
    ...option("source-qemu", configuration.source_qemu),
    ...option("target-qemu", configuration.target_qemu),
    ...option("qemu-args", line(configuration.qemu_args)),
    ...option("source-qemu-args", line(configuration.source_qemu_args)),
    ...option("target-qemu-args", line(configuration.target_qemu_args)),
    ...option("smp", configuration.vcpus),
    ...option("machine", configuration.machine),
    ...option("cpu", configuration.cpu),
    ...option("net", configuration.net),
    ...option("ram", configuration.ram),
    ...(configuration.disks ?? []).flatMap((each) => option("disk", diskText(each))),
    ...(configuration.images ?? []).flatMap(({ path, format }) => option("disk", `${path},format=${format}`)),
    ...option("disk-bus", configuration.disk_bus),
    ...option("kernel", configuration.kernel),
    ...option("initrd", configuration.initrd),
    ...option("append", configuration.append),
    ...option("cloud-init", configuration.cloud_init),
    ...option("snapshot", configuration.snapshot),
    ...(configuration.probes ?? []).flatMap((each) => option("probe", probeText(each))),
    ...option("bandwidth", bandwidth === undefined ? undefined : bandwidth / 1024 ** 2),
    ...option("switchover", switchover === undefined ? undefined : switchoverText(switchover)),
    ...option("transport", configuration.transport),
    ...option("tls", configuration.tls),
    ...option("manager", configuration.manager),
    ...option("manager-patience", tries_ms === undefined ? undefined : tries_ms / 1_000),
  ];
}

function managers(text: string, before: readonly Manager[] = []): readonly Manager[] {
  return [...new Set([...before, ...text.split(",").map(oneOf(...MANAGERS))])];
}

function capability(text: string, before: Readonly<Record<string, boolean>> = {}): Readonly<Record<string, boolean>> {
  const { name, value = "on" } = named(text);
  if (value !== "on" && value !== "off") throw new InvalidArgumentError("It is a name, name=on or name=off.");
  return { ...before, [name]: value === "on" };
}

function parameter(
  text: string,
  before: Readonly<Record<string, boolean | number | string>> = {},
): Readonly<Record<string, boolean | number | string>> {
  const { name, value } = named(text);
  if (value === undefined || value === "") throw new InvalidArgumentError("It is name=value.");
  return { ...before, [name]: parameterValue(value) };
}

/** As QAPI takes it: a whole number, a truth, or a word. */
function parameterValue(text: string): boolean | number | string {
  if (/^(true|false|on|off)$/.test(text)) return text === "true" || text === "on";
  if (!/^\d+$/.test(text)) return text;
  const value = Number(text);
  if (!Number.isSafeInteger(value)) throw new InvalidArgumentError(`A number is at most ${Number.MAX_SAFE_INTEGER}.`);
  return value;
}

function named(text: string): { readonly name: string; readonly value?: string } {
  const at = text.indexOf("=");
  const name = at < 0 ? text : text.slice(0, at);
  if (!QAPI_NAME.test(name)) throw new InvalidArgumentError("A name has small letters, digits and dashes.");
  return at < 0 ? { name } : { name, value: text.slice(at + 1) };
}

function qemuArgs(text: string): readonly string[] {
  try {
    const words = splitWords(text);
    if (words.length > 0) return words;
  } catch (error) {
    throw new InvalidArgumentError(messageOf(error));
  }
  throw new InvalidArgumentError("It is words, in quotes, such as '-device virtio-net-pci'.");
}

/** A word that is no kind is a file. */
function disk(text: string, before: ConfigurationOptions["disk"] = []): ConfigurationOptions["disk"] {
  if (before.length === DISKS_MAX) throw new InvalidArgumentError(`There are ${DISKS_MAX} disks at most.`);
  const [, file = "", said] = /^(.*?)(?:,format=([^,]*))?$/.exec(text) ?? [];
  const format = DISK_FORMATS.find((each) => each === said);
  if (said !== undefined && format === undefined)
    throw new InvalidArgumentError(`A format is ${DISK_FORMATS.join(" or ")}.`);
  const kind = DISK_KINDS.find((each) => each === file);
  if (kind !== undefined) return [...before, format === "qcow2" ? { kind, format } : kind];
  if (!existsSync(file))
    throw new InvalidArgumentError(`It is ${DISK_KINDS.join(" or ")}, or an image of yours: there is no file ${file}.`);
  const path = resolve(file);
  return [...before, { path, format: format ?? formatOf(path) }];
}

/** As it stands in a record, so that the same command means the same from any folder. */
function localFile(text: string): string {
  if (!existsSync(text)) throw new InvalidArgumentError(`There is no file ${text}.`);
  return resolve(text);
}

function disksFrom(asked: ConfigurationOptions["disk"] = []): Pick<Configuration, "disks" | "images"> {
  const isImage = (each: DiskAsked | DiskImage): each is DiskImage => typeof each === "object" && "path" in each;
  const disks = asked.filter((each): each is DiskAsked => !isImage(each));
  const images = asked.filter(isImage);
  return { ...(disks.length === 0 ? {} : { disks }), ...(images.length === 0 ? {} : { images }) };
}

const PROBE_FORMS = [
  "console=<pattern>",
  "'serial=<command> => <pattern>'",
  "tcp=<port>",
  "http=<port>/<path>",
] as const;

function probe(text: string, before: readonly Probe[] = []): readonly Probe[] {
  if (before.length === PROBES_MAX) throw new InvalidArgumentError(`There are ${PROBES_MAX} probes at most.`);
  const [, kind = "", rest = ""] = /^([a-z]+)=(.*)$/s.exec(text) ?? [];
  const [, command = "", answer = ""] = /^(.*?)\s*=>\s*(.*)$/s.exec(rest) ?? [];
  const [, number = "", path = ""] = /^(\d+)(\/.*)?$/s.exec(rest) ?? [];
  const made: Record<string, unknown> = {
    console: { console: rest },
    serial: { serial: command, answer },
    tcp: path === "" ? { tcp: Number(number) } : undefined,
    http: { http: Number(number), path: path === "" ? "/" : path },
  };
  const parsed = CONFIGURATION_FIELDS.probes.safeParse([made[kind]]);
  if (!parsed.success) throw new InvalidArgumentError(`It is ${PROBE_FORMS.join(", ")}.`);
  return [...before, ...(parsed.data ?? [])];
}

function cpuModel(text: string): string {
  if (text.trim() === "" || /\s/.test(text))
    throw new InvalidArgumentError("It is a CPU model, such as max or Nehalem.");
  return text;
}

function switchover(text: string): Switchover {
  if (text === "at-once" || text === "after-one-pass" || text === "never") return text;
  const after = /^after=(\d+)$/.exec(text)?.[1];
  if (after !== undefined && Number(after) <= SWITCHOVER_AFTER_MS_MAX) return { after_ms: Number(after) };
  throw new InvalidArgumentError(
    `It is at-once, after-one-pass, never or after=<ms>, from 0 to ${SWITCHOVER_AFTER_MS_MAX} ms.`,
  );
}
