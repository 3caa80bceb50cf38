import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

/** Long enough for the log to be compacted; `protected-for-long.large.test.ts` makes it half an hour. */
const LONG_MS = 8_000;

export const protectedForLong: Scenario = {
  id: "protected-for-long",
  group: "source",
  title: "a VM that writes much is protected where it runs for a long time, and then its host loses power",
  guests: ["integrity", "linux"],
  migration: PURE_POSTCOPY,
  protect: "alone",
  work: { write_rate_pages_per_s: 20_000 },
  faults: [
    { fault: { fault: "kill-host", host: "source" }, at: { on: "step", step: "protection-on", after_ms: LONG_MS } },
  ],
  limits: [{ of: "agent-memory", most: 512 }],
  tags: ["large"],
  expect: { txsync: "intact" },
};
