import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";
import { MAY_BE_STALE } from "../may-be-stale.ts";

/** Seen with libvirt and without, and without any fault: what is written all the time arrives as it was before switchover. */
export const staleHotPages: Scenario = {
  id: "stale-hot-pages",
  group: "findings",
  title: "nothing breaks, under TCG, with the QEMU that delivers old pages",
  guests: ["integrity"],
  migration: PURE_POSTCOPY,
  faults: [],
  expect: { stock: "intact", txsync: "intact" },
  expect_on: [MAY_BE_STALE],
};
