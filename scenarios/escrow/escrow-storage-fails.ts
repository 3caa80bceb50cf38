import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

/**
 * Whatever the escrow writes of its log and its copy of the base is an I/O error for a second: the log breaks in the middle of a
 * record. It has to be whole again by itself, and the next host that dies is restored from it.
 */
export const escrowStorageFails: Scenario = {
  id: "escrow-storage-fails",
  group: "escrow",
  title: "the escrow's storage fails for a second, and a second and a half later the target's host loses power",
  guests: ["integrity", "linux"],
  tags: ["large"],
  // Slow enough not to be over before the second fault: after the handoff nothing protects the VM.
  migration: { ...PURE_POSTCOPY, bandwidth_bytes_per_s: 8 * 1024 * 1024 },
  faults: [
    {
      fault: { fault: "io-error", host: "escrow", what: "memory" },
      at: { on: "step", step: "target-running", after_ms: 200 },
      heal: { on: "fault", index: 0, after_ms: 1_000 },
    },
    { fault: { fault: "kill-host", host: "target" }, at: { on: "healed", index: 0, after_ms: 1_500 } },
  ],
  expect: { txsync: "intact" },
};
