import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

export const targetKilledDuringRestore: Scenario = {
  id: "target-killed-during-restore",
  group: "double",
  title: "the target's QEMU dies, and its host while the source restores the VM",
  guests: ["integrity", "linux"],
  migration: PURE_POSTCOPY,
  faults: [
    { fault: { fault: "kill-process", host: "target", process: "qemu" }, at: { on: "pages", percent: 30 } },
    { fault: { fault: "kill-host", host: "target" }, at: { on: "step", step: "restore-started" } },
  ],
  expect: { txsync: "intact" },
};
