import type { Scenario } from "../harness/run/scenario.ts";

/** What 11.1 may make of any post-copy under TCG, whatever else is shown (findings/stale-hot-pages.ts). */
export const MAY_BE_STALE = {
  under: "stock",
  from: "11.0",
  verdict: "intact",
  or: ["corrupt", "rollback", "lost"],
  why: "in about a third of the runs under TCG 11.1.3 delivers pages that are written all the time (its stack, its counters) as they were before switchover: a store is not noticed any more once notdirty_write and the clearing of dirty bits have met",
} as const satisfies NonNullable<Scenario["expect_on"]>[number];
