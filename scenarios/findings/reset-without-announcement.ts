import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

/** QEMU: hw/net/virtio-net.c, virtio_net_post_load_device frees the timer of announcements that nobody wants, and virtio_net_reset uses it. */
export const resetWithoutAnnouncement: Scenario = {
  id: "reset-without-announcement",
  group: "findings",
  title: "a VM with a virtio-net card that arrived with announce-rounds=0 is reset: QEMU ends",
  guests: ["linux"],
  configuration: { net: "virtio", parameters: { "announce-rounds": 0 } },
  migration: PURE_POSTCOPY,
  faults: [
    {
      fault: { fault: "qmp", host: "target", command: "system_reset", answer: "either" },
      at: { on: "step", step: "completed", after_ms: 500 },
    },
  ],
  expect: { stock: "lost" },
};
