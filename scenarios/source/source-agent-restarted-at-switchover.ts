import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

export const sourceAgentRestartedAtSwitchover: Scenario = {
  id: "source-agent-restarted-at-switchover",
  group: "source",
  title: "the source's agent is killed when it has QEMU's package and nobody else has been promised the VM yet",
  guests: ["integrity", "linux"],
  migration: PURE_POSTCOPY,
  faults: [
    { fault: { fault: "kill-process", host: "source", process: "agent" }, at: { on: "step", step: "switchover" } },
  ],
  expect: { txsync: "intact" },
};
