import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

export const logSlowerThanTheGuest: Scenario = {
  id: "log-slower-than-the-guest",
  group: "network",
  tags: ["large"],
  title:
    "the guest writes more than the link to the escrow takes, so epochs stretch; then the target's host loses power",
  guests: ["integrity", "linux"],
  work: { write_rate_pages_per_s: 20_000 },
  migration: PURE_POSTCOPY,
  // However soon all of its pages are there.
  txsync: { protect: "always" },
  faults: [
    {
      fault: { fault: "bandwidth", link: "target-escrow", direction: "forward", bytes_per_s: 2 * 1024 * 1024 },
      at: { on: "step", step: "target-running" },
      heal: { on: "fault", index: 0, after_ms: 4_000 },
    },
    { fault: { fault: "kill-host", host: "target" }, at: { on: "fault", index: 0, after_ms: 3_000 } },
  ],
  expect: { txsync: "intact" },
};
