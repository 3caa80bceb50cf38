import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

/** Its agent is well, and QEMU answers nothing: a transaction that is begun hangs in `stop`, and nobody may conclude more. */
export const targetQemuFrozen: Scenario = {
  id: "target-qemu-frozen",
  group: "target",
  title: "the target's QEMU stands still for a second and a half when it has asked for 100 pages",
  guests: ["integrity", "linux"],
  migration: PURE_POSTCOPY,
  faults: [
    {
      fault: { fault: "freeze-process", host: "target", process: "qemu" },
      at: { on: "requests", count: 100 },
      heal: { on: "fault", index: 0, after_ms: 1_500 },
    },
  ],
  expect: { txsync: "intact" },
};
