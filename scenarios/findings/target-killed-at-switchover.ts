import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

/** QEMU's list, August to November 2025: the source has everything, and the VM is lost all the same. */
export const targetKilledAtSwitchover: Scenario = {
  id: "target-killed-at-switchover",
  group: "findings",
  title: "the target's QEMU dies while it loads the device state; the source's memory is whole",
  guests: ["integrity"],
  migration: PURE_POSTCOPY,
  faults: [
    { fault: { fault: "kill-process", host: "target", process: "qemu" }, at: { on: "step", step: "switchover" } },
  ],
  expect: { stock: "lost", txsync: "intact" },
};
