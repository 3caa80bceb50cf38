import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

/** QEMU's list, August 2025: the last acknowledgement is lost, and the source starts again behind the target. */
export const lastAcknowledgementLost: Scenario = {
  id: "last-acknowledgement-lost",
  group: "findings",
  title: "the link is reset when every page was sent and the target has not yet said that it has them",
  guests: ["integrity"],
  migration: PURE_POSTCOPY,
  faults: [{ fault: { fault: "cut-reset", link: "source-target" }, at: { on: "step", step: "completing" } }],
  expect: { stock: "intact", txsync: "intact" },
  expect_on: [
    {
      under: "stock",
      before: "8.0",
      verdict: "intact",
      or: ["lost"],
      why: "the source's QEMU never runs its VM again; the target goes on where all had come, and else it waits for a link that never comes back",
    },
    {
      under: "stock",
      from: "10.0",
      verdict: "rollback",
      or: ["split-brain", "corrupt", "intact"],
      why: "the source's QEMU takes the migration for failed before switchover was over, and runs its VM again behind the target's; a reset that comes a moment later does no harm",
    },
  ],
};
