import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

/**
 * Nothing is left of the escrow, its disk included. The VM runs on unprotected; another escrow, which knows of no promise that
 * the one before gave, is let in and gets base and modified set; and what it has is all that there is when the host dies.
 */
export const escrowReplaced: Scenario = {
  id: "escrow-replaced",
  group: "escrow",
  title: "the escrow is gone for good, another one has its place, and when that protects the VM its host loses power",
  guests: ["integrity", "linux"],
  migration: PURE_POSTCOPY,
  protect: "alone",
  faults: [
    { fault: { fault: "replace-host", host: "escrow" }, at: { on: "step", step: "protection-on", after_ms: 500 } },
    {
      fault: { fault: "kill-host", host: "source" },
      at: { on: "step", step: "protection-on", since: 0, after_ms: 500 },
    },
  ],
  expect: { txsync: "intact" },
};
