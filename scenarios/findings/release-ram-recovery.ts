import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

/** The capability is taken beside post-copy without a word; that it leaves no way back is said when there is need of one. */
export const releaseRamRecovery: Scenario = {
  id: "release-ram-recovery",
  group: "findings",
  title: "post-copy with release-ram: the link is reset and is back after a second",
  guests: ["integrity"],
  migration: PURE_POSTCOPY,
  faults: [
    {
      fault: { fault: "cut-reset", link: "source-target" },
      at: { on: "pages", percent: 30 },
      heal: { on: "fault", index: 0, after_ms: 1_000 },
    },
  ],
  configuration: { capabilities: { "release-ram": true } },
  expect: { stock: "lost" },
  expect_on: [
    {
      under: "stock",
      managers: ["qmp"],
      verdict: "lost",
      why: '`migrate` with `resume` is refused: "Postcopy recovery cannot work when release-ram capability is set"',
    },
  ],
};
