import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

export const escrowHostKilled: Scenario = {
  id: "escrow-host-killed",
  group: "escrow",
  title: "the escrow's host loses power, and with it log and copy of the base",
  guests: ["integrity", "linux"],
  migration: PURE_POSTCOPY,
  faults: [{ fault: { fault: "kill-host", host: "escrow" }, at: { on: "pages", percent: 30 } }],
  expect: { txsync: "intact" },
};
