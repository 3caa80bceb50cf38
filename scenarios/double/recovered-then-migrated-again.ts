import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

export const recoveredThenMigratedAgain: Scenario = {
  id: "recovered-then-migrated-again",
  group: "double",
  title: "the target's QEMU dies, the VM comes back on the source, and is migrated again under protection",
  guests: ["integrity"],
  migration: PURE_POSTCOPY,
  faults: [{ fault: { fault: "kill-process", host: "target", process: "qemu" }, at: { on: "pages", percent: 30 } }],
  expect: { txsync: "intact" },
  afterwards: "migrate-protected",
};
