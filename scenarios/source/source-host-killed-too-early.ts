import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

/** What txsync cannot mend, and says: with this durability nothing has been let out that would be missed. */
export const sourceHostKilledTooEarly: Scenario = {
  id: "source-host-killed-too-early",
  group: "source",
  title: "the source's host loses power before anybody else has the base: the VM is lost, and no output with it",
  guests: ["integrity", "linux"],
  migration: PURE_POSTCOPY,
  faults: [{ fault: { fault: "kill-host", host: "source" }, at: { on: "step", step: "target-running" } }],
  expect: { stock: "lost", txsync: "lost" },
  txsync: { base_ahead: 0, durability: "host" },
};
