import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";
import { MAY_BE_STALE } from "../may-be-stale.ts";

/** KubeVirt has multifd on by default; QEMU says which of the two it means only since 10.0. */
export const multifdWithPostcopy: Scenario = {
  id: "multifd-with-postcopy",
  group: "findings",
  title: "post-copy with multifd, and nothing breaks",
  guests: ["integrity"],
  migration: PURE_POSTCOPY,
  faults: [],
  configuration: { capabilities: { multifd: true } },
  expect: { stock: "intact" },
  expect_on: [
    {
      under: "stock",
      before: "8.0",
      verdict: "lost",
      why: "the capability is taken and the migration completes, and then the target's QEMU aborts in yank_unregister_instance",
    },
    MAY_BE_STALE,
  ],
  only: {
    versions: [{ before: "10.0" }, { from: "10.1" }],
    why: 'it refuses the capability in time: "Postcopy is not yet compatible with multifd"',
  },
};
