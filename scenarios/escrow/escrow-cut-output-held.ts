import type { Scenario } from "../../harness/run/scenario.ts";

/**
 * What the guest says while nothing can be committed waits, and is bounded: the VM stands still until the escrow is heard
 * again. Then its host dies, and nobody may have lost, or heard twice, a word of it.
 */
export const escrowCutOutputHeld: Scenario = {
  id: "escrow-cut-output-held",
  group: "escrow",
  title:
    "the escrow is cut off from a guest that chatters and whose output is held, until it stands still; then its host dies",
  guests: ["integrity"],
  migration: { switchover: "at-once", bandwidth_bytes_per_s: 4 * 1024 * 1024 },
  work: { chatter_lines_per_s: 200 },
  txsync: { unprotected: "hold", output_held_bytes: 12 * 1024 },
  faults: [
    {
      fault: { fault: "bandwidth", link: "source-target", bytes_per_s: 4 * 1024 * 1024 },
      at: { on: "step", step: "setup" },
    },
    {
      fault: { fault: "cut-silent", link: "source-escrow", direction: "both" },
      at: { on: "step", step: "protection-on", after_ms: 300 },
      heal: { on: "step", step: "output-full", after_ms: 1_000 },
    },
    {
      fault: { fault: "cut-silent", link: "target-escrow", direction: "both" },
      at: { on: "fault", index: 1 },
      heal: { on: "healed", index: 1 },
    },
    { fault: { fault: "kill-host", host: "target" }, at: { on: "step", step: "output-room", after_ms: 500 } },
  ],
  tags: ["large"],
  expect: { txsync: "intact" },
};
