import type { Scenario } from "../../harness/run/scenario.ts";

/**
 * Each silence costs the target its lease of the escrow, and each healing is a new beginning of protection: what is
 * recorded then has to be what changed, or the records of the next beginnings grow until nobody hears anybody. The target
 * dies two and a half seconds after the last of them; by then protection has to be back. The pages come slowly, and go on
 * coming for as long as it takes, however large the guest is and however fast it writes.
 */
export const escrowLinkBlinks: Scenario = {
  id: "escrow-link-blinks",
  group: "network",
  title: "the link between target and escrow goes silent four times in short order, and then the target's host dies",
  guests: ["integrity", "linux"],
  migration: { switchover: "at-once", bandwidth_bytes_per_s: 2 * 1024 * 1024 },
  faults: [
    {
      fault: { fault: "bandwidth", link: "source-target", bytes_per_s: 4 * 1024 * 1024 },
      at: { on: "step", step: "setup" },
    },
    {
      fault: { fault: "cut-silent", link: "target-escrow", direction: "both" },
      at: { on: "step", step: "target-running", after_ms: 1_000 },
      heal: { on: "fault", index: 1, after_ms: 550 },
    },
    {
      fault: { fault: "cut-silent", link: "target-escrow", direction: "both" },
      at: { on: "healed", index: 1, after_ms: 60 },
      heal: { on: "fault", index: 2, after_ms: 1_050 },
    },
    {
      fault: { fault: "cut-silent", link: "target-escrow", direction: "both" },
      at: { on: "healed", index: 2, after_ms: 560 },
      heal: { on: "fault", index: 3, after_ms: 700 },
    },
    {
      fault: { fault: "cut-silent", link: "target-escrow", direction: "both" },
      at: { on: "healed", index: 3, after_ms: 250 },
      heal: { on: "fault", index: 4, after_ms: 900 },
    },
    { fault: { fault: "kill-host", host: "target" }, at: { on: "healed", index: 4, after_ms: 2_500 } },
  ],
  expect: { txsync: "intact" },
  // Not in every `npm test`: 10 s of silences, in which no other VM is
  // carried. `npm run test:large` plays it at 1 GiB too, where it bites harder.
  tags: ["large"],
};
