import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";
import { sqlClient } from "./sql-client.ts";

/**
 * A whole Debian that boots from its disk, with a database under way: a VM of which Ferryman knows nothing but that client.
 *
 *     npx tsx harness/cli.ts setup --debian-disk ./debian.qcow2
 *     npx tsx harness/cli.ts run scenarios/examples/debian.scenario.ts --disk ./debian.qcow2 --memory 512 --snapshot ./debian.booted
 */
const debian = {
  group: "examples",
  guests: ["custom"],
  // It has booted, and may be kept for others to start from, when its second serial line has somebody who answers.
  configuration: {
    net: "virtio",
    probes: [{ serial: "systemctl is-system-running", answer: "^(running|degraded|starting)" }],
  },
  client: sqlClient,
  migration: PURE_POSTCOPY,
} satisfies Partial<Scenario>;

export const noFault: Scenario = {
  ...debian,
  id: "debian",
  title: "a Debian with a database is carried over, and nothing is broken",
  faults: [],
  expect: { stock: "intact", txsync: "intact" },
};

export const targetHostKilled: Scenario = {
  ...debian,
  id: "debian-target-host-killed",
  title: "the target's host loses power while transactions are committed",
  faults: [{ fault: { fault: "kill-host", host: "target" }, at: { on: "pages", percent: 30 } }],
  expect: { stock: "lost", txsync: "intact" },
};

export const sourceHostKilled: Scenario = {
  ...debian,
  id: "debian-source-host-killed",
  title: "the source's host loses power while transactions are committed",
  faults: [{ fault: { fault: "kill-host", host: "source" }, at: { on: "pages", percent: 30 } }],
  expect: { stock: "lost", txsync: "intact" },
};
