import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

/** A connection ends at a byte of its own choice, again and again: in the middle of a record, mostly. */
export const escrowLinkDiesInRecords: Scenario = {
  id: "escrow-link-dies-in-records",
  group: "network",
  title:
    "every connection between target and escrow ends after 3 MB, in the middle of whatever it carries; then the target's host dies",
  guests: ["integrity", "linux"],
  migration: PURE_POSTCOPY,
  faults: [
    {
      fault: { fault: "byte-limit", link: "target-escrow", bytes: 3_000_000 },
      at: { on: "step", step: "setup" },
    },
    { fault: { fault: "kill-host", host: "target" }, at: { on: "pages", percent: 60 } },
  ],
  expect: { txsync: "intact" },
};
