import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

export const linkSlow: Scenario = {
  id: "link-slow",
  group: "network",
  title: "the link is slow and its delay varies from before the migration on",
  guests: ["integrity", "linux"],
  migration: PURE_POSTCOPY,
  faults: [
    {
      fault: { fault: "latency", link: "source-target", latency_ms: 5, jitter_ms: 3 },
      at: { on: "step", step: "setup" },
    },
    {
      fault: { fault: "bandwidth", link: "source-target", bytes_per_s: 40_000_000 },
      at: { on: "step", step: "setup" },
    },
  ],
  expect: { stock: "intact", txsync: "intact" },
};
