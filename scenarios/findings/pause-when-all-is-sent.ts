import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

/** What the manager `qmp` therefore does not do. */
export const pauseWhenAllIsSent: Scenario = {
  id: "pause-when-all-is-sent",
  group: "findings",
  title: "the last pages hang in the network, and the source, which has sent everything, is told to pause",
  guests: ["integrity"],
  migration: PURE_POSTCOPY,
  faults: [
    {
      fault: { fault: "cut-silent", link: "source-target", direction: "forward" },
      at: { on: "pages", percent: 95 },
    },
    {
      fault: { fault: "qmp", host: "source", command: "migrate-pause", oob: true, answer: "either" },
      at: { on: "step", step: "completing", after_ms: 200 },
    },
  ],
  expect: { stock: "lost" },
  expect_on: [
    {
      under: "stock",
      from: "10.0",
      verdict: "rollback",
      or: ["split-brain", "corrupt", "lost"],
      why: "the source's QEMU gives the migration up and runs its VM again beside the target's",
    },
  ],
  only: {
    versions: [{ from: "10.0" }],
    why: "it does not say that everything is sent while pages hang in the network",
  },
};
