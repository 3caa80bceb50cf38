import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

/** Seen with libvirt and without, and without any fault: what is written all the time arrives as it was before switchover. */
export const staleHotPages: Scenario = {
  id: "stale-hot-pages",
  group: "findings",
  title: "nothing breaks, under TCG, with the QEMU that delivers old pages",
  guests: ["integrity"],
  migration: PURE_POSTCOPY,
  faults: [],
  expect: { stock: "intact", txsync: "intact" },
  expect_on: [
    {
      under: "stock",
      from: "11.0",
      verdict: "intact",
      or: ["corrupt", "rollback", "lost"],
      why: "in about a third of the runs under TCG 11.1.3 delivers pages that are written all the time (its stack, its counters) as they were before switchover",
    },
  ],
};
