import { afterAll, expect, test } from "vitest";
import type { Configuration } from "../harness/base/configuration.ts";
import type { Recovery } from "../harness/base/run-record.ts";
import { prepareRuns } from "../harness/run/prepare.ts";
import { play, request, wrong } from "./testing.ts";

/**
 * A VM as people have it: Linux with two vCPUs, a network card whose client holds one connection, a disk of records and
 * one with a file system, through every kind of fault. One run at a time: each has four hosts and a world outside.
 */

const WHOLE: Configuration = { vcpus: 2, net: "virtio", disks: ["raw", "ext4"] };
const MEMORY_MIB = 512;

const EVERYWHERE = ["no-fault", "target-host-killed"];
const UNDER_TXSYNC = [
  ...EVERYWHERE,
  "source-host-killed",
  "target-qemu-killed",
  "link-cut-healed",
  "link-cut-silent-healed",
  "link-cut-for-good",
  "escrow-killed",
  "target-agent-restarted",
  "recovered-then-rebooted",
];

const RUNS: readonly (readonly [string, string, Recovery])[] = [
  ...UNDER_TXSYNC.map((id) => [id, "10.0", "txsync"] as const),
  ...EVERYWHERE.map((id) => [id, "10.0", "stock"] as const),
  ...["7.2", "11.1"].flatMap((qemu) => EVERYWHERE.map((id) => [id, qemu, "txsync"] as const)),
];

const ended = new AbortController();
afterAll(() => ended.abort());

test.each(RUNS)(
  "%s, QEMU %s, %s",
  async (id, qemu, recovery) => {
    const environment = await prepareRuns(qemu, ended.signal, { storage: true });
    const asked = { ...request(id, { guest: "linux", recovery, memory_mib: MEMORY_MIB }), configuration: WHOLE };
    const records = await play(environment, [asked], 1);
    expect(wrong(records)).toEqual([]);
    const checks = new Map(records.flatMap(({ checks: all }) => all.map((each) => [each.check, each.verdict])));
    // A VM that is lost has nothing to tell.
    if (recovery === "txsync")
      for (const check of ["disk-history", "network-history"])
        expect([check, checks.get(check)]).toEqual([check, true]);
  },
  300_000,
);

const DEVICES: Readonly<Record<string, Configuration>> = {
  "disks that are qcow2": {
    disks: [
      { kind: "raw", format: "qcow2" },
      { kind: "ext4", format: "qcow2" },
    ],
  },
  "a card that is an e1000e": { net: "e1000e", disks: ["raw", "ext4"] },
  "disks of virtio-scsi": { disks: ["raw", "ext4"], disk_bus: "scsi" },
};
const WITH_DEVICES: readonly (readonly [string, Recovery])[] = [
  ...["no-fault", "target-host-killed", "source-host-killed", "link-cut-healed"].map((id) => [id, "txsync"] as const),
  ["link-cut-healed", "stock"],
];

/** Other devices than those that everything else here is run with. */
test.each(
  Object.entries(DEVICES).flatMap(([what, configuration]) =>
    ["7.2", "10.0", "11.1"].flatMap((qemu) =>
      WITH_DEVICES.map(([id, recovery]) => ({ what, configuration, qemu, id, recovery })),
    ),
  ),
)(
  "$what: $id, QEMU $qemu, $recovery",
  async ({ configuration, qemu, id, recovery }) => {
    const environment = await prepareRuns(qemu, ended.signal, { storage: true, images: true });
    const asked = {
      ...request(id, { guest: "linux", recovery, memory_mib: 256 }),
      configuration: { vcpus: 2, ...configuration },
    };
    expect(wrong(await play(environment, [asked], 1))).toEqual([]);
  },
  300_000,
);

/** Several vCPUs and watchdogs, at the configuration that their scenarios have. */
test.each([
  ["target-host-killed-watched", "txsync", "linux"],
  ["four-vcpus-wait", "txsync", "linux"],
  ["four-vcpus-wait", "txsync", "integrity"],
  ["four-vcpus-wait", "stock", "linux"],
  ["four-vcpus-wait", "stock", "integrity"],
  ["one-of-four-vcpus-waits", "txsync", "integrity"],
  ["one-of-four-vcpus-waits", "stock", "integrity"],
] as const)(
  "%s, %s, %s",
  async (id, recovery, guest) => {
    const environment = await prepareRuns("10.0", ended.signal);
    expect(wrong(await play(environment, [request(id, { guest, recovery, memory_mib: 256 })], 1))).toEqual([]);
  },
  300_000,
);
