import { describe, expect, it } from "vitest";
import { noFault } from "../../scenarios/controls/no-fault.ts";
import { EVERY_SCENARIO } from "../../scenarios/index.ts";
import type { Configuration } from "../base/configuration.ts";
import { UserError } from "../base/errors.ts";
import type { FaultSpec } from "../faults/index.ts";
import { checkConfiguration, configurationOf, extraArgsOf, machineTypeOf, managerOf, planOf } from "./configure.ts";
import type { RunEnvironment, RunRequest } from "./request.ts";
import type { FaultPlan } from "./scenario.ts";
import { STEP_NAMES, stepOf } from "./steps.ts";

const MIB = 1024 ** 2;

function request(configuration: Configuration, change: Partial<RunRequest> = {}): RunRequest {
  const asked = { scenario: noFault, recovery: "stock", guest: "integrity", accel: "tcg", accel_why: "" } as const;
  return { ...asked, seed: 1, memory_bytes: 128 * MIB, keep: false, configuration, ...change };
}

// Only the versions are looked at.
const environment = (source: string, target?: string): RunEnvironment =>
  ({ qemu_version: source, ...(target === undefined ? {} : { target: { qemu_version: target } }) }) as RunEnvironment;

describe("a run's configuration", () => {
  it("is the scenario's, with what was asked for over it", () => {
    const scenario = { ...noFault, configuration: { vcpus: 2, switchover: "never" as const } };
    const asked = request({ vcpus: 4, bandwidth_bytes_per_s: 8 * MIB }, { scenario });
    expect(configurationOf(asked)).toEqual({ vcpus: 4, switchover: "never", bandwidth_bytes_per_s: 8 * MIB });
    expect(planOf(asked)).toEqual({ switchover: "never", bandwidth_bytes_per_s: 8 * MIB });
  });

  it("leaves the scenario's migration as it is, which may be another one in each recovery", () => {
    const migration = { switchover: { stock: "after-one-pass", txsync: "at-once" }, bandwidth_bytes_per_s: 1 } as const;
    const scenario = { ...noFault, migration };
    expect(planOf(request({}, { scenario })).switchover).toBe("after-one-pass");
    expect(planOf(request({}, { scenario, recovery: "txsync" })).switchover).toBe("at-once");
    const after = { ...migration, switchover: { after_ms: 5 } };
    expect(planOf(request({}, { scenario: { ...noFault, migration: after } })).switchover).toEqual({ after_ms: 5 });
  });

  it("names the older one's machine type where the QEMUs differ", () => {
    expect(machineTypeOf(environment("10.0.13 (Debian)"), {})).toBe("q35");
    expect(machineTypeOf(environment("10.0.13 (Debian)"), { machine: "pc" })).toBe("pc");
    expect(machineTypeOf(environment("7.2.22 (Debian)", "11.1.3 (Debian)"), {})).toBe("pc-q35-7.2");
    expect(machineTypeOf(environment("11.1.3", "10.0.13"), { machine: "pc" })).toBe("pc-i440fx-10.0");
  });

  it("gives each host its own arguments after those of all", () => {
    const configuration = { qemu_args: ["-a"], source_qemu_args: ["-s"], target_qemu_args: ["-t"] };
    expect(extraArgsOf(configuration, "source")).toEqual(["-a", "-s"]);
    expect(extraArgsOf(configuration, "target")).toEqual(["-a", "-t"]);
    expect(extraArgsOf(configuration, "escrow")).toEqual(["-a", "-t"]);
    expect(extraArgsOf({}, "source")).toEqual([]);
  });

  it.each<[Configuration, RegExp]>([
    [{}, /nothing to boot: give it --disk <image>, or --kernel/],
    [{ append: "quiet", images: [{ path: "/a", format: "raw" }] }, /--append go with --kernel/],
    [{ kernel: "/a" }, /Nothing tells whether the custom guest lives/],
    [{ kernel: "/a", probes: [{ tcp: 22 }] }, /probe tcp=22 reaches the guest by a network card/],
    [{ kernel: "/none", probes: [{ console: "up" }] }, /\/none cannot be read/],
    [{ disks: ["ext4"], kernel: "/a" }, /give the custom guest an image file/],
  ])("a guest of the user's with %j is refused before anything starts", (configuration, why) => {
    const asked = request(configuration, { guest: "custom" });
    expect(() => checkConfiguration(asked)).toThrow(UserError);
    expect(() => checkConfiguration(asked)).toThrow(why);
  });

  it("keeps no snapshot of a VM of which nothing but a client would tell that it has booted", () => {
    const client = { name: "none", start: () => ({ invoke: async () => undefined, check: async () => [] }) };
    const scenario = { ...request({}).scenario, client } as unknown as RunRequest["scenario"];
    const configuration = { kernel: process.execPath, net: "virtio", snapshot: "/b" } as const;
    const asked = request(configuration, { guest: "custom", scenario });
    expect(() => checkConfiguration(asked)).toThrow(/has answered each --probe, and there is none/);
    const { snapshot: _, ...without } = configuration;
    expect(() => checkConfiguration(request(without, { guest: "custom", scenario }))).not.toThrow();
  });

  it("takes a bus for the disks of the Linux guest, and refuses one where there are none", () => {
    const disks = ["raw", { kind: "ext4", format: "qcow2" }] as const;
    const linux = { guest: "linux" } as const;
    expect(() => checkConfiguration(request({ disks, disk_bus: "scsi" }, linux))).not.toThrow();
    expect(() => checkConfiguration(request({ disk_bus: "scsi" }, linux))).toThrow("give it one with --disk");
  });

  it("has the disks of the Linux guest under libvirt too, on the bus that its domain has", () => {
    const asked = (disk_bus: "blk" | "scsi") =>
      request({ disks: ["raw"], disk_bus, manager: "libvirt" }, { guest: "linux" });
    expect(() => checkConfiguration(asked("blk"))).not.toThrow();
    expect(() => checkConfiguration(asked("scsi"))).toThrow("--disk-bus scsi cannot be had with --manager libvirt");
  });

  it("refuses what is for a guest of the user's with another", () => {
    const asked = request({ probes: [{ console: "up" }] });
    expect(() => checkConfiguration(asked)).toThrow(
      "--probe is for a guest of yours: say --guest custom, not integrity.",
    );
  });

  it.each<[Configuration, string]>([
    [{ capabilities: { "postcopy-ram": false } }, "--switchover"],
    [{ capabilities: { events: false } }, "events"],
    [{ parameters: { "max-bandwidth": 1 } }, "--bandwidth"],
    [{ parameters: { "tls-creds": "x" } }, "--tls"],
  ])("%j is said by an option, whatever the recovery", (configuration, why) => {
    expect(() => checkConfiguration(request(configuration))).toThrow(UserError);
    expect(() => checkConfiguration(request(configuration))).toThrow(why);
  });

  it.each<[Configuration, string]>([
    [{ capabilities: { multifd: true } }, "one channel"],
    [{ capabilities: { "postcopy-preempt": true } }, "one channel"],
    [{ capabilities: { xbzrle: true } }, "not compressed"],
    [{ parameters: { "multifd-compression": "zstd" } }, "not compressed"],
    [{ capabilities: { "auto-converge": true } }, "by themselves"],
    [{ parameters: { "announce-rounds": 0 } }, "by themselves"],
    [{ tls: "psk" }, "read QEMU's stream"],
    [{ transport: "unix" }, "connections of their own"],
    [{ ram: "memfd" }, "--ram memfd"],
    [{ switchover: "never" }, "--switchover never"],
    [{ switchover: { after_ms: 10 } }, "--switchover after=10"],
  ])("%j is what txsync refuses aloud, and stock does not", (configuration, why) => {
    expect(() => checkConfiguration(request(configuration))).not.toThrow();
    const under = request(configuration, { recovery: "txsync" });
    expect(() => checkConfiguration(under)).toThrow(UserError);
    expect(() => checkConfiguration(under)).toThrow(why);
  });

  it.each<[Configuration]>([
    [{ vcpus: 2, machine: "pc", cpu: "max", bandwidth_bytes_per_s: 8 * MIB }],
    [{ qemu_args: ["-device", "virtio-rng-pci"], source_qemu: "7.2", target_qemu: "10.0" }],
    [{ switchover: "at-once", transport: "tcp", ram: "file" }],
  ])("%j is taken by both", (configuration) => {
    for (const recovery of ["stock", "txsync"] as const)
      expect(() => checkConfiguration(request(configuration, { recovery }))).not.toThrow();
  });

  it.each<[Configuration, string]>([
    [{ capabilities: { "postcopy-preempt": true } }, "by itself"],
    [{ tls: "psk" }, "certificates"],
    [{ ram: "memfd" }, "guest RAM in a file"],
    [{ source_qemu_args: ["-device", "virtio-rng-pci"] }, "as libvirt on the source describes it"],
  ])("%j is what libvirt refuses aloud", (configuration, why) => {
    expect(() => checkConfiguration(request({ ...configuration, manager: "libvirt" }))).toThrow(why);
    expect(() => checkConfiguration(request({ ...configuration, manager: "none" }))).not.toThrow();
  });

  it("is not that of a manager under txsync, unless it is the scenario's own, which is for stock", () => {
    expect(() => checkConfiguration(request({ manager: "none" }, { recovery: "txsync" }))).toThrow("--recovery stock");
    const scenario = { ...noFault, configuration: { manager: "libvirt" as const } };
    expect(() => checkConfiguration(request({}, { scenario, recovery: "txsync" }))).not.toThrow();
    expect(managerOf(request({}, { scenario, recovery: "txsync" }))).toBeUndefined();
    expect(managerOf(request({}, { scenario }))).toBe("libvirt");
    expect(managerOf(request({ manager: "none" }, { scenario }))).toBe("none");
    expect(managerOf(request({}))).toBe("qmp");
  });

  it("has agents where a fault strikes one at its files or its clock", () => {
    const at = { on: "pages", percent: 30 } as const;
    const step = { fault: { fault: "clock-step", host: "target", clock: "monotonic", by_ms: 3_000 }, at } as const;
    const error = { fault: { fault: "io-error", host: "escrow", what: "memory" }, at } as const;
    for (const plan of [step, error]) {
      const scenario = { ...noFault, faults: [plan] };
      expect(() => checkConfiguration(request({}, { scenario }))).toThrow(/strikes an agent, and stock QEMU has none/);
      expect(() => checkConfiguration(request({}, { scenario, recovery: "txsync" }))).not.toThrow();
    }
  });

  it("has libvirt where a fault breaks what only libvirt has", () => {
    const kill = {
      fault: { fault: "kill-manager", host: "target", part: "daemon" },
      at: { on: "pages", percent: 30 },
    } as const;
    const cut = { fault: { fault: "cut-reset", link: "libvirt" }, at: { on: "pages", percent: 30 } } as const;
    for (const plan of [kill, cut]) {
      const scenario = { ...noFault, faults: [plan] };
      expect(() => checkConfiguration(request({}, { scenario }))).toThrow(/breaks what only libvirt has/);
      expect(() => checkConfiguration(request({}, { scenario, recovery: "txsync" }))).toThrow(
        /breaks what only libvirt has/,
      );
      expect(() => checkConfiguration(request({ manager: "libvirt:resume" }, { scenario }))).not.toThrow();
    }
  });

  const AT_30 = { on: "pages", percent: 30 } as const;
  const KILL = { fault: "kill-host", host: "target" } as const;
  const said = (faults: readonly FaultPlan[], change: Partial<RunRequest> = {}): string => {
    try {
      checkConfiguration(request(change.configuration ?? {}, { scenario: { ...noFault, faults }, ...change }));
      return "";
    } catch (error) {
      expect(error).toBeInstanceOf(UserError);
      return (error as Error).message;
    }
  };

  it.each(["source-storage", "target-storage", "escrow-storage"] as const)(
    "has disks where a fault breaks the link %s, or what serves them",
    (link) => {
      for (const fault of [{ fault: "cut-reset", link } as const, { fault: "kill-storage", what: "server" } as const]) {
        const faults = [{ fault, at: AT_30 }];
        for (const recovery of ["stock", "txsync"] as const)
          expect(said(faults, { recovery })).toMatch(/only a VM with disks has: .*--guest linux --disk raw/);
        expect(said(faults, { guest: "linux", configuration: { disks: ["raw"] } })).toBe("");
      }
    },
  );

  it("has agents where a fault strikes one, or what only they have", () => {
    const faults: readonly FaultSpec[] = [
      { fault: "kill-process", host: "target", process: "agent" },
      { fault: "freeze-process", host: "escrow", process: "agent" },
      { fault: "deny-writes", host: "escrow", what: "memory" },
      { fault: "replace-host", host: "escrow" },
    ];
    for (const fault of faults) {
      expect(said([{ fault, at: AT_30 }])).toMatch(/strikes an agent, and stock QEMU has none: .*--recovery txsync/);
      expect(said([{ fault, at: AT_30 }], { recovery: "txsync" })).toBe("");
    }
    const escrow = { fault: { fault: "kill-process", host: "escrow", process: "qemu" }, at: AT_30 } as const;
    expect(said([escrow])).toMatch(/QEMU on the escrow, and stock QEMU has none there/);
    expect(said([escrow], { recovery: "txsync" })).toBe("");
  });

  it("takes a step to strike or to be healed at only under the recovery that comes to it", () => {
    for (const step of STEP_NAMES) {
      const { under } = stepOf(step);
      for (const recovery of ["stock", "txsync"] as const) {
        const comes = under === "both" || under === recovery;
        const strike = said([{ fault: KILL, at: { on: "step", step } }], { recovery });
        const heal = said([{ fault: KILL, at: AT_30, heal: { on: "step", step } }], { recovery });
        for (const [text, waits] of [
          [strike, "waits for"],
          [heal, "is to be healed at"],
        ] as const)
          if (comes) expect(text).toBe("");
          else {
            expect(text).toContain(`With --recovery ${recovery} fault 0 (kill-host, target) ${waits} "${step}"`);
            expect(text).toMatch(/which never comes: .*list --steps/);
          }
      }
    }
    expect(said([{ fault: KILL, at: { on: "transactions", count: 3 } }])).toMatch(/which never comes: no agent/);
  });

  it("has no faults that wait for each other, nor for one that never strikes", () => {
    const faults: readonly FaultPlan[] = [
      { fault: KILL, at: { on: "fault", index: 1 } },
      { fault: { fault: "cut-reset", link: "source-target" }, at: { on: "fault", index: 0 } },
    ];
    for (const recovery of ["stock", "txsync"] as const) expect(said(faults, { recovery })).toMatch(/never comes/);
    const [first, second] = faults as [FaultPlan, FaultPlan];
    const late = [{ ...first, at: { on: "step", step: "takeover" } } as const, second];
    expect(said(late)).toMatch(/never comes/);
    expect(said(late, { recovery: "txsync" })).toBe("");
  });

  it("has no pc with more memory than lies there in one piece, and whole huge pages", () => {
    const large = { memory_bytes: 4096 * MIB };
    expect(() => checkConfiguration(request({ machine: "pc" }, large))).toThrow("2816 MiB");
    expect(() => checkConfiguration(request({ machine: "pc" }, { ...large, guest: "linux" }))).not.toThrow();
    expect(() => checkConfiguration(request({ ram: "hugetlbfs" }, { memory_bytes: 129 * MIB }))).toThrow("2 MiB");
  });

  it("has disks for the guest that does something with them", () => {
    expect(() => checkConfiguration(request({ disks: ["raw"] }))).toThrow("--guest linux");
    expect(() => checkConfiguration(request({ disks: ["raw"] }, { guest: "linux" }))).not.toThrow();
    const before = { guest: "linux", txsync: { protect_before: true }, recovery: "txsync" } as const;
    expect(() => checkConfiguration(request({ disks: ["raw"] }, before))).not.toThrow();
  });

  it("of every scenario can be had in every recovery that it expects something of", () => {
    for (const scenario of EVERY_SCENARIO) {
      const [guest = "integrity"] = scenario.guests;
      for (const recovery of ["stock", "txsync"] as const)
        if (scenario.expect[recovery] !== undefined)
          expect(() => checkConfiguration(request({}, { scenario, recovery, guest })), scenario.id).not.toThrow();
    }
  });
});
