import { eachRow, halvedRows, type Row } from "./testing/rows.ts";
import { byAgents, request } from "./testing.ts";

/**
 * Guests, sizes, accelerators, QEMUs and ways to switch over that the suite of every scenario (`every-*.real.test.ts`) does
 * not have; near twins of these are in scenarios.large.test.ts.
 */
const KVM = { accel: "kvm" } as const;
const LINUX = { guest: "linux" } as const;

eachRow(
  "with stock recovery",
  halvedRows([
    // Under KVM the bare-metal guest; the kernel keeps a clock in its memory, and the audit has to know it.
    { what: "link-cut-healed, real KVM", qemu: "10.0", asked: request("link-cut-healed", KVM) },
    { what: "still-audit, Linux guest", qemu: "10.0", asked: request("still-audit", LINUX) },
    {
      what: "no-fault, configured in many ways at once",
      qemu: "10.0",
      asked: {
        ...request("no-fault"),
        configuration: {
          capabilities: { "postcopy-preempt": true, "postcopy-blocktime": true },
          parameters: { "announce-rounds": 2 },
          ...{ vcpus: 2, cpu: "max", ram: "memfd", transport: "unix", tls: "psk" },
          qemu_args: ["-device", "virtio-rng-pci"],
        },
      },
    },
    {
      what: "no-fault, from QEMU 7.2 to 10.0 by pre-copy alone",
      qemu: "7.2",
      target_qemu: "10.0",
      asked: {
        ...request("no-fault"),
        configuration: { machine: "pc", switchover: "never", source_qemu: "7.2", target_qemu: "10.0" },
      },
    },
    { what: "no-fault, QEMU 7.2", qemu: "7.2", asked: request("no-fault") },
  ]),
);

/** Of QEMU's own migration, which is protected, and (`byAgents`) without it. */
const AGENTS: readonly Row[] = [
  {
    what: "target-host-killed, 1 GiB",
    qemu: "10.0",
    asked: request("target-host-killed", { recovery: "txsync", memory_mib: 1024 }),
  },
  ...["target-host-killed", "source-host-killed"].map((id) => {
    return { what: `${id}, QEMU 7.2`, qemu: "7.2", asked: request(id, { recovery: "txsync" }) };
  }),
  {
    what: "target-host-killed, real KVM",
    qemu: "10.0",
    asked: request("target-host-killed", { recovery: "txsync", ...KVM }),
  },
  ...byAgents(["still-audit", "source-host-killed"]).map((asked) => {
    return { what: `${asked.scenario.id}, by the agents`, qemu: "10.0", asked };
  }),
  // While memory goes ahead, or right after.
  ...byAgents(["link-cut-for-good", "target-killed-before-switchover"], {}, { memory_ahead: true }).map((asked) => {
    return { what: `${asked.scenario.id}, by the agents, memory ahead`, qemu: "10.0", asked };
  }),
];
eachRow("with transaction synchronisation", halvedRows(AGENTS));
