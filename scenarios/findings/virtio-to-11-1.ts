import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

/** Debian's 10.0.13 gives every virtqueue 1024 entries (x-query-virtio-queue-status), whatever the device has. */
export const virtioTo11: Scenario = {
  id: "virtio-to-11-1",
  group: "findings",
  title: "a VM with a virtio device goes to QEMU 11.1, and nothing breaks",
  guests: ["integrity"],
  migration: PURE_POSTCOPY,
  faults: [],
  configuration: { source_qemu: "10.0", target_qemu: "11.1", qemu_args: ["-device", "virtio-rng-pci"] },
  expect: { stock: "intact", txsync: "intact" },
  expect_on: [
    {
      under: "stock",
      from: "10.0",
      before: "10.1",
      target_from: "11.0",
      verdict: "lost",
      why: 'a VM that was booted on 10.0.13 has queues of 1024 entries, and 11.1 does not load them: "VQ 0 vring.num 1024 exceeds allocated max"',
    },
  ],
  only: { versions: [{ from: "10.0", before: "10.1" }], why: "it is about a VM that was booted on 10.0" },
};
