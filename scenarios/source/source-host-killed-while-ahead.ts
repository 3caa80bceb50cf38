import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

const at = { on: "step", step: "precopy", after_ms: 700 } as const;
const title = "the source's host loses power while memory goes ahead to the target";

export const sourceHostKilledWhileAhead: Scenario = {
  id: "source-host-killed-while-ahead",
  group: "source",
  title: `a protected VM: ${title}`,
  guests: ["integrity", "linux"],
  migration: PURE_POSTCOPY,
  faults: [{ fault: { fault: "kill-host", host: "source" }, at }],
  txsync: { protect_before: true },
  expect: { txsync: "intact" },
};

export const unprotectedHostKilledWhileAhead: Scenario = {
  id: "unprotected-host-killed-while-ahead",
  group: "source",
  title,
  guests: ["integrity", "linux"],
  migration: { ...PURE_POSTCOPY, switchover: { stock: "after-one-pass", txsync: "at-once" } },
  faults: [{ fault: { fault: "kill-host", host: "source" }, at }],
  txsync: { switchover_by: "agent" },
  tags: ["large"],
  expect: { stock: "lost", txsync: "lost" },
};
