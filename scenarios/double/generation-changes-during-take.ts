import type { Scenario } from "../../harness/run/scenario.ts";

/**
 * QEMU stands still in the middle of a transaction that is being taken of it, and meanwhile the escrow is not heard for
 * longer than a lease, and is heard again: two generations later the half-taken transaction must not have cost the next
 * one a page. Twice; then the target's host dies, and what is restored shows whether every page was there.
 */
export const generationChangesDuringTake: Scenario = {
  id: "generation-changes-during-take",
  group: "double",
  title: "generations change while a slow target's transaction is being taken, twice, and then the target's host dies",
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
      heal: { on: "fault", index: 1, after_ms: 900 },
    },
    {
      fault: { fault: "freeze-process", host: "target", process: "qemu" },
      at: { on: "fault", index: 1, after_ms: 200 },
      heal: { on: "fault", index: 2, after_ms: 1_200 },
    },
    {
      fault: { fault: "cut-silent", link: "target-escrow", direction: "both" },
      at: { on: "healed", index: 2, after_ms: 300 },
      heal: { on: "fault", index: 3, after_ms: 800 },
    },
    {
      fault: { fault: "freeze-process", host: "target", process: "qemu" },
      at: { on: "fault", index: 3, after_ms: 100 },
      heal: { on: "fault", index: 4, after_ms: 1_100 },
    },
    { fault: { fault: "kill-host", host: "target" }, at: { on: "healed", index: 4, after_ms: 1_500 } },
  ],
  expect: { txsync: "intact" },
  // Not in every `npm test`: 9 s of silences, in which no other VM is
  // carried. `npm run test:large` plays it at 1 GiB too, where it bites harder.
  tags: ["large"],
};
