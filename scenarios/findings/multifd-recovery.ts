import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";
import { MAY_BE_STALE } from "../may-be-stale.ts";

/** The same, recovered: of two channels QEMU 7.2 brings one back. */
export const multifdRecovery: Scenario = {
  id: "multifd-recovery",
  group: "findings",
  title: "post-copy with multifd: the link is reset and is back after a second",
  guests: ["integrity"],
  migration: PURE_POSTCOPY,
  faults: [
    {
      fault: { fault: "cut-reset", link: "source-target" },
      at: { on: "pages", percent: 30 },
      heal: { on: "fault", index: 0, after_ms: 1_000 },
    },
  ],
  configuration: { capabilities: { multifd: true } },
  expect: { stock: "intact" },
  expect_on: [
    {
      under: "stock",
      before: "8.0",
      verdict: "lost",
      why: "the source stays in postcopy-recover, the target in postcopy-paused, however often it is recovered",
    },
    MAY_BE_STALE,
  ],
  only: {
    versions: [{ before: "10.0" }, { from: "10.1" }],
    why: 'it refuses the capability in time: "Postcopy is not yet compatible with multifd"',
  },
};
