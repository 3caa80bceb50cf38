import { PURE_POSTCOPY, type Scenario, type Trigger } from "../../harness/run/scenario.ts";
import type { StepName } from "../../harness/run/steps.ts";

/**
 * The source's host of a protected VM loses power at each step from the beginning of its protection to after the handoff:
 * for guests of any size that write as much as they like (`source-host-cells.large.test.ts`). By hand:
 * `run scenarios/testing/source-host-cells.ts --memory 1024 --write-rate 20000`.
 */

const step = (name: StepName, after_ms?: number): Trigger => {
  return { on: "step", step: name, ...(after_ms === undefined ? {} : { after_ms }) };
};

/** In the order in which they normally come; before `protection-on` the VM is not protected yet. */
const MOMENTS: Readonly<Record<string, Trigger>> = {
  "protection-on": step("protection-on"),
  setup: step("setup"),
  "transaction-2": { on: "transactions", count: 2 },
  precopy: step("precopy"),
  "precopy-500ms": step("precopy", 500),
  "precopy-1500ms": step("precopy", 1_500),
  switchover: step("switchover"),
  "target-running": step("target-running"),
  completing: step("completing"),
  "ownership-asked": step("ownership-asked"),
  "ownership-promised": step("ownership-promised"),
  handoff: step("handoff"),
  completed: step("completed"),
};

export const SOURCE_HOST_CELLS: readonly Scenario[] = Object.entries(MOMENTS).map(([when, at]) => ({
  id: `source-host-killed-at-${when}`,
  group: "steps",
  title: `a protected VM: the source's host loses power at ${when}`,
  guests: ["integrity", "linux"],
  migration: PURE_POSTCOPY,
  faults: [{ fault: { fault: "kill-host", host: "source" }, at }],
  txsync: { protect_before: true },
  expect: { txsync: "intact" },
}));
