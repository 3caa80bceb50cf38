import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

export const recoveredThenRebooted: Scenario = {
  id: "recovered-then-rebooted",
  group: "double",
  title: "the target's host dies, the VM comes back on the source, and is reset there",
  guests: ["integrity", "linux"],
  migration: PURE_POSTCOPY,
  faults: [{ fault: { fault: "kill-host", host: "target" }, at: { on: "pages", percent: 30 } }],
  expect: { txsync: "intact" },
  afterwards: "reboot",
};
