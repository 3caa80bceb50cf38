import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";
import { MAY_BE_STALE } from "../may-be-stale.ts";

/** QEMU's issue 1052. */
export const stopHangsTheMonitor: Scenario = {
  id: "stop-hangs-the-monitor",
  group: "findings",
  title: "`stop` is asked of the target while post-copy is paused: the monitor does not answer until it is recovered",
  guests: ["integrity"],
  migration: PURE_POSTCOPY,
  faults: [
    {
      fault: { fault: "cut-reset", link: "source-target" },
      at: { on: "pages", percent: 30 },
      heal: { on: "fault", index: 0, after_ms: 2_000 },
    },
    {
      fault: { fault: "qmp", host: "target", command: "stop", within_ms: 1_000, answer: "never" },
      at: { on: "step", step: "postcopy-paused" },
    },
    {
      fault: { fault: "qmp", host: "target", command: "cont", within_ms: 20_000 },
      at: { on: "step", step: "completed" },
    },
  ],
  configuration: { manager_patience_ms: 20_000 },
  expect: { stock: "intact" },
  expect_on: [MAY_BE_STALE],
};
