import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

export const sourceQemuKilled: Scenario = {
  id: "source-qemu-killed",
  group: "source",
  title: "the source's QEMU is killed when 30 % of the pages have arrived",
  guests: ["integrity", "linux"],
  migration: PURE_POSTCOPY,
  faults: [{ fault: { fault: "kill-process", host: "source", process: "qemu" }, at: { on: "pages", percent: 30 } }],
  expect: { stock: "lost", txsync: "intact" },
};
