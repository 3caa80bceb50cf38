import { eachRow } from "./testing/rows.ts";
import { request, withTxsync } from "./testing.ts";

/** Near twins of what `scenarios.real.test.ts` has: each would cost every `npm test` half a dozen seconds or more. */
eachRow("with stock recovery", [
  { what: "no-fault, real KVM", qemu: "10.0", asked: request("no-fault", { accel: "kvm" }) },
  { what: "still-audit, real KVM", qemu: "10.0", asked: request("still-audit", { accel: "kvm" }) },
  { what: "still-audit, QEMU 7.2", qemu: "7.2", asked: request("still-audit") },
  { what: "no-fault, Linux guest, QEMU 7.2", qemu: "7.2", asked: request("no-fault", { guest: "linux" }) },
  { what: "no-fault, Linux guest", qemu: "10.0", asked: request("no-fault", { guest: "linux" }) },
  { what: "still-audit, Linux guest, QEMU 7.2", qemu: "7.2", asked: request("still-audit", { guest: "linux" }) },
]);

eachRow("with transaction synchronisation", [
  {
    what: "link-cut-for-good, QEMU 7.2",
    qemu: "7.2",
    asked: request("link-cut-for-good", { recovery: "txsync" }),
  },
  {
    what: "source-host-killed, real KVM",
    qemu: "10.0",
    asked: request("source-host-killed", { recovery: "txsync", accel: "kvm" }),
  },
  ...withTxsync(["no-fault", "cut-during-handoff"], { memory_ahead: true }).map((asked) => {
    return { what: `${asked.scenario.id}, memory ahead`, qemu: "10.0", asked };
  }),
]);

/** The integrity guest on four vCPUs, each with a region of its own. */
eachRow(
  "with four vCPUs",
  (
    [
      ["no-fault", "stock", "10.0", "tcg"],
      ["still-audit", "stock", "10.0", "tcg"],
      ["link-cut-healed", "stock", "10.0", "tcg"],
      ["target-host-killed", "txsync", "10.0", "tcg"],
      ["source-host-killed", "txsync", "10.0", "tcg"],
      ["recovered-then-rebooted", "txsync", "10.0", "tcg"],
      ["target-host-killed", "txsync", "7.2", "tcg"],
      ["target-host-killed", "txsync", "11.1", "tcg"],
      ["no-fault", "stock", "10.0", "kvm"],
    ] as const
  ).map(([id, recovery, qemu, accel]) => {
    const asked = { ...request(id, { recovery, accel }), configuration: { vcpus: accel === "kvm" ? 2 : 4 } };
    return { what: `${id}, ${recovery}, QEMU ${qemu}, ${accel}`, qemu, asked };
  }),
);
