import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

export const targetQemuKilled: Scenario = {
  id: "target-qemu-killed",
  group: "target",
  title: "the target's QEMU is killed when 30 % of the pages have arrived",
  guests: ["integrity", "linux"],
  migration: PURE_POSTCOPY,
  faults: [{ fault: { fault: "kill-process", host: "target", process: "qemu" }, at: { on: "pages", percent: 30 } }],
  expect: { stock: "lost", txsync: "intact" },
};
