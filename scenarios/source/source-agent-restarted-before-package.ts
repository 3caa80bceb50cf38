import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

export const sourceAgentRestartedBeforePackage: Scenario = {
  id: "source-agent-restarted-before-package",
  group: "source",
  title: "the source's agent is killed while QEMU hands it the package: the VM stands still, and nobody has it",
  guests: ["integrity", "linux"],
  migration: PURE_POSTCOPY,
  faults: [
    {
      fault: { fault: "kill-process", host: "source", process: "agent" },
      at: { on: "step", step: "precopy", after_ms: 90 },
    },
  ],
  expect: { txsync: "intact" },
};
