import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

export const targetAgentKilledWithWritesOpen: Scenario = {
  id: "target-agent-killed-with-writes-open",
  group: "target",
  tags: ["large"],
  title:
    "the target's agent is killed while disk writes wait for their commit, and stays away until the source has the VM",
  guests: ["linux"],
  configuration: { disks: ["raw", "ext4"] },
  migration: PURE_POSTCOPY,
  faults: [
    {
      // Its QEMU goes on writing, and the daemon beside it keeps that; none of it is in any transaction.
      fault: { fault: "kill-process", host: "target", process: "agent", stays_away: true },
      at: { on: "step", step: "transaction-taken" },
      heal: { on: "fault", index: 0, after_ms: 3_000 },
    },
  ],
  expect: { txsync: "intact" },
};
