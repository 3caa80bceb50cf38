import type { Scenario } from "../../harness/run/scenario.ts";

/**
 * The escrow keeps its log and its copy of the base in memory, and there is none left for a while: records cannot be
 * stored, and output waits. When there is room again everything has to go on by itself, and the next host that dies is
 * restored from a log that never had half a record.
 */
export const escrowMemoryFull: Scenario = {
  id: "escrow-memory-full",
  group: "escrow",
  title: "the escrow's memory is full for two seconds, and two seconds later the target's host loses power",
  guests: ["integrity", "linux"],
  migration: { switchover: "at-once", bandwidth_bytes_per_s: 8 * 1024 * 1024 },
  faults: [
    {
      fault: { fault: "fill", host: "escrow", what: "shm" },
      at: { on: "step", step: "target-running", after_ms: 1_000 },
      heal: { on: "fault", index: 0, after_ms: 2_000 },
    },
    { fault: { fault: "kill-host", host: "target" }, at: { on: "healed", index: 0, after_ms: 2_000 } },
  ],
  expect: { txsync: "intact" },
};
