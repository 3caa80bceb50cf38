import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

/** A promise that cannot be written down is none: nobody takes the VM over until there is room, and then somebody does. */
export const sourceDiskFull: Scenario = {
  id: "source-disk-full",
  group: "source",
  title: "the disk of the source's agent is full for two seconds, and meanwhile the target's host loses power",
  guests: ["integrity", "linux"],
  tags: ["large"],
  migration: PURE_POSTCOPY,
  faults: [
    {
      fault: { fault: "io-error", host: "source", what: "promises", error: "full" },
      at: { on: "step", step: "target-running" },
      heal: { on: "fault", index: 0, after_ms: 2_000 },
    },
    { fault: { fault: "kill-host", host: "target" }, at: { on: "fault", index: 0, after_ms: 500 } },
  ],
  expect: { txsync: "intact" },
};
