import { afterAll, expect, test } from "vitest";
import type { Recovery, RunRecord } from "../harness/base/run-record.ts";
import { prepareRuns } from "../harness/run/prepare.ts";
import type { FaultPlan } from "../harness/run/scenario.ts";
import { noFault } from "./controls/no-fault.ts";
import { play, request, wrong } from "./testing.ts";

/** The Linux guest with a network card, and a client outside that holds one TCP connection through the run. */

const ended = new AbortController();
afterAll(() => ended.abort());

async function connected(id: string, qemu: string, recovery: Recovery, vcpus: number): Promise<readonly RunRecord[]> {
  const environment = await prepareRuns(qemu, ended.signal);
  const asked = {
    ...request(id, { guest: "linux", recovery, memory_mib: 192 }),
    configuration: { net: "virtio", vcpus },
  } as const;
  return await play(environment, [asked], 1);
}

test.each([
  ["target-host-killed-connected", "7.2", 1],
  ["target-host-killed-connected", "10.0", 1],
  ["target-host-killed-connected", "11.1", 1],
  ["source-host-killed", "10.0", 1],
  ["link-cut-for-good", "10.0", 2],
  ["escrow-killed", "10.0", 1],
  ["network-storm", "10.0", 1],
] as const)(
  "under txsync one connection lives through %s, QEMU %s, vCPUs %i",
  async (id, qemu, vcpus) => {
    const records = await connected(id, qemu, "txsync", vcpus);
    expect(wrong(records)).toEqual([]);
    for (const { checks } of records)
      expect(checks.find(({ check }) => check === "network-history")?.summary).toMatch(/over one connection/);
  },
  300_000,
);

test.each(["no-fault", "link-cut-healed"])(
  "under stock the announcement moves the switch's port: %s",
  async (id) => {
    expect(wrong(await connected(id, "10.0", "stock", 1))).toEqual([]);
  },
  300_000,
);

/** Long after the source's QEMU has finished with it, its VM is let run again, where the target's is dead: an earlier VM. */
const RUNS_AGAIN_WHERE_IT_WAS: readonly FaultPlan[] = [
  {
    fault: { fault: "kill-process", host: "target", process: "qemu" },
    at: { on: "step", step: "completed", after_ms: 500 },
  },
  { fault: { fault: "qmp", host: "source", command: "cont" }, at: { on: "fault", index: 0, after_ms: 200 } },
];

test("a write that was acknowledged, and that the VM knows no more, is found by who reads the store", async () => {
  const environment = await prepareRuns("10.0", ended.signal);
  const asked = {
    ...request("no-fault", { guest: "linux", recovery: "stock", memory_mib: 192 }),
    scenario: { ...noFault, faults: RUNS_AGAIN_WHERE_IT_WAS, expect: { stock: "rollback", txsync: "intact" } },
    configuration: { net: "virtio" },
  } as const;
  const records = await play(environment, [asked], 1);
  expect(wrong(records)).toEqual([]);
  for (const { checks } of records)
    expect(checks.find(({ check }) => check === "service-history")?.summary).toMatch(/is gone|came back/);
}, 300_000);
