import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

export const noFault: Scenario = {
  id: "no-fault",
  group: "controls",
  title: "nothing breaks: the VM is carried over and goes on",
  guests: ["integrity", "linux"],
  migration: PURE_POSTCOPY,
  faults: [],
  expect: { stock: "intact", txsync: "intact" },
};
