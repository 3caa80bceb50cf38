import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

export const sourceKilledBeforeSwitchover: Scenario = {
  id: "source-killed-before-switchover",
  group: "source",
  title: "the source's QEMU is killed in the pre-copy phase, while it still is the VM",
  guests: ["integrity", "linux"],
  migration: { ...PURE_POSTCOPY, switchover: { stock: "after-one-pass", txsync: "at-once" } },
  faults: [{ fault: { fault: "kill-process", host: "source", process: "qemu" }, at: { on: "step", step: "precopy" } }],
  expect: { stock: "lost", txsync: "lost" },
};
