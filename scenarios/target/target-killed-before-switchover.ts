import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

export const targetKilledBeforeSwitchover: Scenario = {
  id: "target-killed-before-switchover",
  group: "target",
  title: "the target's QEMU is killed in the pre-copy phase: the source simply runs on",
  guests: ["integrity", "linux"],
  migration: { ...PURE_POSTCOPY, switchover: { stock: "after-one-pass", txsync: "at-once" } },
  faults: [{ fault: { fault: "kill-process", host: "target", process: "qemu" }, at: { on: "step", step: "precopy" } }],
  expect: { stock: "intact", txsync: "intact" },
};
