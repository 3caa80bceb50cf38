import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

/** What a slow link is only late with must not be asked for again and again: it would never be whole there. */
export const escrowReplacedOverASlowLink: Scenario = {
  id: "escrow-replaced-over-a-slow-link",
  group: "escrow",
  tags: ["large"],
  title:
    "another escrow gets the VM's memory over a link of 5 MiB/s, and when that protects the VM its host loses power",
  guests: ["integrity", "linux"],
  work: { write_rate_pages_per_s: 100 },
  migration: PURE_POSTCOPY,
  protect: "alone",
  faults: [
    {
      fault: { fault: "bandwidth", link: "source-escrow", bytes_per_s: 5 * 1024 * 1024 },
      at: { on: "step", step: "protection-on", after_ms: 200 },
    },
    { fault: { fault: "replace-host", host: "escrow" }, at: { on: "fault", index: 0, after_ms: 300 } },
    {
      fault: { fault: "kill-host", host: "source" },
      at: { on: "step", step: "protection-on", since: 1, after_ms: 500 },
    },
  ],
  expect: { txsync: "intact" },
};
