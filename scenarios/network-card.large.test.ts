import { afterAll, expect, test } from "vitest";
import type { Recovery } from "../harness/base/run-record.ts";
import { prepareRuns } from "../harness/run/prepare.ts";
import { play, request, wrong } from "./testing.ts";

/** The Linux guest with a network card, and a client outside that holds one TCP connection through the run. */

const ended = new AbortController();
afterAll(() => ended.abort());

const connected = (id: string, recovery: Recovery, vcpus = 1) =>
  ({
    ...request(id, { guest: "linux", recovery, memory_mib: 192 }),
    configuration: { net: "virtio", vcpus },
  }) as const;

test("under txsync one connection lives through the loss of a host, and of the link for good", async () => {
  const environment = await prepareRuns("10.0", ended.signal);
  const records = await play(
    environment,
    [
      connected("target-host-killed-connected", "txsync"),
      connected("source-host-killed", "txsync"),
      connected("link-cut-for-good", "txsync", 2),
      connected("escrow-killed", "txsync"),
    ],
    1,
  );
  expect(wrong(records)).toEqual([]);
  for (const { checks } of records)
    expect(checks.find(({ check }) => check === "network-history")?.summary).toMatch(/over one connection/);
}, 900_000);

test.each(["7.2", "11.1"])(
  "and on QEMU %s",
  async (qemu) => {
    const environment = await prepareRuns(qemu, ended.signal);
    expect(wrong(await play(environment, [connected("target-host-killed-connected", "txsync")], 1))).toEqual([]);
  },
  600_000,
);

test("under stock the announcement moves the switch's port", async () => {
  const environment = await prepareRuns("10.0", ended.signal);
  expect(
    wrong(await play(environment, [connected("no-fault", "stock"), connected("link-cut-healed", "stock")], 1)),
  ).toEqual([]);
}, 600_000);
