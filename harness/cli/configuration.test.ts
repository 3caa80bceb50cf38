import { Command, CommanderError } from "commander";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type Configuration,
  configurationSchema,
  DISK_FORMATS,
  DISK_KINDS,
  DISKS_MAX,
  MACHINES,
  MANAGERS,
  NETS,
  PROBES_MAX,
  RAM_KINDS,
  SWITCHOVER_AFTER_MS_MAX,
  SWITCHOVER_WORDS,
  TRANSPORTS,
} from "../base/configuration.ts";
import { splitWords } from "../base/words.ts";
import {
  addConfigurationOptions,
  type ConfigurationOptions,
  configurationFrom,
  configurationWords,
} from "./configuration.ts";

/** What the words of a command line come to, or what they are answered. */
function parsed(words: readonly string[]): Configuration | string {
  const said: string[] = [];
  const command = addConfigurationOptions(new Command());
  command.exitOverride().configureOutput({ writeErr: (text) => said.push(text) });
  try {
    command.parse(["node", "ferryman", ...words]);
    return configurationFrom(command.opts<ConfigurationOptions>());
  } catch (error) {
    if (error instanceof CommanderError) return said.join("");
    throw error;
  }
}

const name = fc.stringMatching(/^[a-z][a-z0-9-]{0,20}$/);
const words = fc.array(fc.string({ minLength: 1 }), { minLength: 1, maxLength: 4 });
const value = fc.oneof(
  fc.boolean(),
  fc.maxSafeNat(),
  fc.stringMatching(/^[a-z][a-z0-9,.]*$/).filter((text) => !/^(on|off|true|false)$/.test(text)),
);
const configurations = fc.record(
  {
    capabilities: fc.dictionary(name, fc.boolean(), { minKeys: 1, maxKeys: 3, noNullPrototype: true }),
    parameters: fc.dictionary(name, value, { minKeys: 1, maxKeys: 3, noNullPrototype: true }),
    source_qemu: fc.constantFrom("7.2", "my/qemu:pr-7"),
    target_qemu: fc.constantFrom("7.2", "my/qemu:pr-7"),
    qemu_args: words,
    source_qemu_args: words,
    target_qemu_args: words,
    vcpus: fc.integer({ min: 1, max: 255 }),
    machine: fc.constantFrom(...MACHINES),
    cpu: fc.constantFrom("max", "qemu64,-pni,-svm"),
    net: fc.constantFrom(...NETS),
    ram: fc.constantFrom(...RAM_KINDS),
    images: fc.array(
      fc.record({ path: fc.constantFrom("/dev/null", process.execPath), format: fc.constantFrom(...DISK_FORMATS) }),
      { minLength: 1, maxLength: 2 },
    ),
    disk_bus: fc.constantFrom("blk", "scsi"),
    kernel: fc.constant(process.execPath),
    append: fc.constantFrom("console=ttyS0 quiet", "a='b'"),
    probes: fc.array(
      fc.oneof(
        fc.constantFrom({ console: "step n=(\\d+)" }, { serial: "is it up", answer: "^yes$" }),
        fc.record({ tcp: fc.integer({ min: 1, max: 65_535 }) }),
        fc.record({ http: fc.integer({ min: 1, max: 65_535 }), path: fc.constantFrom("/", "/health?deep=1") }),
      ),
      { minLength: 1, maxLength: PROBES_MAX },
    ),
    disks: fc.array(
      fc.oneof(
        fc.constantFrom(...DISK_KINDS),
        fc.record({ kind: fc.constantFrom(...DISK_KINDS), format: fc.constant("qcow2" as const) }),
      ),
      { minLength: 1, maxLength: DISKS_MAX - 2 },
    ),
    bandwidth_bytes_per_s: fc.integer({ min: 1, max: 1024 }).map((mib) => mib * 1024 ** 2),
    switchover: fc.oneof(
      fc.constantFrom(...SWITCHOVER_WORDS),
      fc.record({ after_ms: fc.integer({ min: 0, max: SWITCHOVER_AFTER_MS_MAX }) }, { noNullPrototype: true }),
    ),
    manager: fc.constantFrom(...MANAGERS),
    manager_patience_ms: fc.integer({ min: 1, max: 600 }).map((s) => s * 1_000),
    transport: fc.constantFrom(...TRANSPORTS),
    tls: fc.constant("psk" as const),
  },
  { requiredKeys: [], noNullPrototype: true },
);

describe("a configuration on the command line", () => {
  it("is the same again after it was written out, as a shell would read it", () => {
    fc.assert(
      fc.property(configurations, (configuration) => {
        const line = configurationWords(configuration).join(" ");
        expect(parsed(splitWords(line))).toEqual(configuration);
        expect(configurationSchema.parse(configuration)).toEqual(configuration);
      }),
    );
  });

  it.each([
    [["--capability", "multifd=maybe"], "name=on or name=off"],
    [["--capability", "Multi FD"], "small letters"],
    [["--parameter", "multifd-channels"], "name=value"],
    [["--parameter", "xbzrle-cache-size=99999999999999999999"], "at most"],
    [["--smp", "0"], "from 1 to 255"],
    [["--smp", "256"], "from 1 to 255"],
    [["--bandwidth", "0"], "from 1 to 1048576"],
    [["--machine", "microvm"], "one of q35, pc"],
    [["--net", "rtl8139"], "one of virtio, e1000e"],
    [["--ram", "swap"], "one of file, memfd, hugetlbfs"],
    [["--disk", "zfs"], "raw or ext4"],
    [["--disk", "ext4,format=vmdk"], "A format is raw or qcow2"],
    [["--disk", "raw", "--disk", "raw", "--disk", "raw", "--disk", "raw", "--disk", "raw"], "4 disks at most"],
    [["--cpu", " "], "a CPU model"],
    [["--switchover", "soon"], "after=<ms>"],
    [["--switchover", "after=99999999999"], "from 0 to"],
    [["--transport", "rdma"], "one of tcp, unix"],
    [["--tls", "x509"], "one of psk"],
    [["--qemu-args", "'-device"], "not closed"],
    [["--qemu-args", " "], "-device virtio-net-pci"],
    [["--source-qemu", "no name"], "a QEMU version"],
  ])("%j is told what is wrong with it", (words, why) => {
    expect(parsed(words)).toContain(why);
  });
});
