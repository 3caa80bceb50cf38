import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

/** Who the escrow is, and that it has been let in, outlives the agents that know it. */
export const escrowReplacedThenAgentsRestarted: Scenario = {
  id: "escrow-replaced-then-agents-restarted",
  group: "double",
  title:
    "another escrow protects the VM; its agent is killed and comes back, then that of the VM's host, and then the host loses power",
  guests: ["integrity", "linux"],
  migration: PURE_POSTCOPY,
  protect: "alone",
  faults: [
    { fault: { fault: "replace-host", host: "escrow" }, at: { on: "step", step: "protection-on", after_ms: 500 } },
    {
      fault: { fault: "kill-process", host: "escrow", process: "agent" },
      at: { on: "step", step: "protection-on", since: 0, after_ms: 300 },
    },
    {
      fault: { fault: "kill-process", host: "source", process: "agent" },
      at: { on: "step", step: "protection-on", since: 0, after_ms: 800 },
    },
    {
      fault: { fault: "kill-host", host: "source" },
      at: { on: "step", step: "transaction-committed", since: 2, after_ms: 1_000 },
    },
  ],
  expect: { txsync: "intact" },
  // Not in every `npm test`, which has escrow-replaced.
  tags: ["large"],
};
