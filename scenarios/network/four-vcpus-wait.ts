import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

/** Shorter than a lease: nobody takes the VM, and a `stop` has to wait for vCPUs that cannot go on. */
const CUT_MS = 200;

/** The target is cut off from both others, silently, and is back before anybody acts. */
export function cutOffAt(percent: number): Scenario["faults"] {
  return [
    {
      fault: { fault: "cut-silent", link: "source-target", direction: "both" },
      at: { on: "pages", percent },
      heal: { on: "fault", index: 0, after_ms: CUT_MS },
    },
    {
      fault: { fault: "cut-silent", link: "target-escrow", direction: "both" },
      at: { on: "fault", index: 0 },
      heal: { on: "fault", index: 1, after_ms: CUT_MS },
    },
  ];
}

export const fourVcpusWait: Scenario = {
  id: "four-vcpus-wait",
  group: "network",
  tags: ["large"],
  title:
    "four vCPUs wait for pages that nobody can bring: the target is cut off, silently, and is back before anybody acts",
  guests: ["linux", "integrity"],
  configuration: { vcpus: 4 },
  work: { write_rate_pages_per_s: 20_000 },
  migration: PURE_POSTCOPY,
  // Pages come from the first one on: of none of the integrity guest's regions, which are quarters, all are there yet.
  faults: cutOffAt(20),
  expect: { stock: "intact", txsync: "intact" },
};
