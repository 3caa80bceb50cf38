import type { Recovery } from "../harness/base/run-record.ts";
import type { RunRequest } from "../harness/run/request.ts";
import type { Scenario } from "../harness/run/scenario.ts";
import { eachRow, halvedRows, type Row } from "./testing/rows.ts";
import { stepsOfAMigration, stepsOfARecovery, stepsOfARestore, stepsOfATakeover } from "./testing/step-cells.ts";
import { byQemu, request, withTxsync } from "./testing.ts";

/**
 * Guests, sizes, accelerators, QEMUs and ways to switch over that the suite of every scenario (`every-*.real.test.ts`) does
 * not have; near twins of these are in scenarios.large.test.ts.
 */
const KVM = { accel: "kvm" } as const;
const LINUX = { guest: "linux" } as const;

/** A cell of the slice in which something strikes at each step (testing/step-cells.ts). */
function cell(scenario: Scenario, recovery: Recovery): RunRequest {
  return { ...request("no-fault", { recovery }), scenario };
}

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
      // Under TCG it was once that 7.2 lost a store in its pre-copy (harness/qemu/FACTS.md, "Looks like bugs").
      what: "no-fault, from QEMU 7.2 to 10.0 by pre-copy alone, real KVM",
      qemu: "7.2",
      target_qemu: "10.0",
      asked: {
        ...request("no-fault", KVM),
        configuration: { machine: "pc", switchover: "never", source_qemu: "7.2", target_qemu: "10.0" },
      },
    },
    { what: "steps-of-a-recovery, QEMU 7.2", qemu: "7.2", asked: cell(stepsOfARecovery, "stock") },
  ]),
);

/** By the agents, as is usual, and (`byQemu`) by QEMU's own migration. */
const AGENTS: readonly Row[] = [
  {
    what: "target-host-killed, 1 GiB",
    qemu: "10.0",
    asked: request("target-host-killed", { recovery: "txsync", memory_mib: 1024 }),
  },
  {
    what: "target-host-killed, real KVM",
    qemu: "10.0",
    asked: request("target-host-killed", { recovery: "txsync", ...KVM }),
  },
  {
    // What a reset does to a card that came with a restored VM is QEMU's matter, and was its end.
    what: "recovered-then-rebooted, Linux guest, network card",
    qemu: "10.0",
    asked: {
      ...request("recovered-then-rebooted", { ...LINUX, recovery: "txsync", memory_mib: 192 }),
      configuration: { net: "virtio" },
    },
  },
  { what: "steps-of-a-migration", qemu: "10.0", asked: cell(stepsOfAMigration, "txsync") },
  { what: "steps-of-a-restore, QEMU 7.2", qemu: "7.2", asked: cell(stepsOfARestore, "txsync") },
  { what: "steps-of-a-takeover, QEMU 7.2", qemu: "7.2", asked: cell(stepsOfATakeover, "txsync") },
  ...byQemu(["still-audit", "source-host-killed", "target-host-killed"]).map((asked) => {
    return { what: `${asked.scenario.id}, by QEMU`, qemu: "10.0", asked };
  }),
  // While memory goes ahead, or right after.
  ...withTxsync(["link-cut-for-good", "target-killed-before-switchover"], { memory_ahead: true }).map((asked) => {
    return { what: `${asked.scenario.id}, memory ahead`, qemu: "10.0", asked };
  }),
];
eachRow("with transaction synchronisation", halvedRows(AGENTS));
