import { afterAll, expect, test } from "vitest";
import type { Recovery } from "../harness/base/run-record.ts";
import { prepareRuns } from "../harness/run/prepare.ts";
import { play, request, wrong } from "./testing.ts";

/** The Linux guest with a raw and an ext4 disk: what it wrote is there, once, and nothing else. */

const ended = new AbortController();
afterAll(() => ended.abort());

const STORAGE = ["storage-link-cut", "storage-link-silent", "storage-link-slow", "storage-killed-and-back"];
const WITH_DISKS: Readonly<Record<Recovery, readonly string[]>> = {
  stock: ["no-fault", "link-cut-healed", ...STORAGE],
  txsync: [
    "no-fault",
    "target-host-killed",
    "target-qemu-killed",
    "source-host-killed",
    "escrow-killed",
    "recovered-then-rebooted",
    "target-agent-killed-with-writes-open",
    ...STORAGE,
  ],
};

const RUNS = ["7.2", "10.0", "11.1"].flatMap((qemu) =>
  (["stock", "txsync"] as const).flatMap((recovery) => WITH_DISKS[recovery].map((id) => [id, qemu, recovery] as const)),
);

test.each(RUNS)(
  "%s, QEMU %s, %s",
  async (id, qemu, recovery) => {
    const environment = await prepareRuns(qemu, ended.signal, { storage: true });
    const asked = {
      ...request(id, { recovery, guest: "linux", memory_mib: 256 }),
      configuration: { disks: ["raw", "ext4"] },
    } as const;
    expect(wrong(await play(environment, [asked], 1))).toEqual([]);
  },
  300_000,
);

/** Its last writes on the source are in the image before the target runs, or the log brings them there. */
test.each([
  "no-fault",
  "source-host-killed-before-switchover",
  "protected-source-host-killed-at-switchover",
  "target-host-killed",
  "protected-host-killed",
])(
  "%s, of a VM that is protected before it migrates",
  async (id) => {
    const environment = await prepareRuns("10.0", ended.signal, { storage: true });
    const asked = {
      ...request(id, { recovery: "txsync", guest: "linux", memory_mib: 256 }),
      configuration: { disks: ["raw", "ext4"] },
      txsync: { protect_before: true },
    } as const;
    expect(wrong(await play(environment, [asked], 1))).toEqual([]);
  },
  300_000,
);
