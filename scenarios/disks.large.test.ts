import { afterAll, expect, test } from "vitest";
import type { Recovery } from "../harness/base/run-record.ts";
import { prepareRuns } from "../harness/run/prepare.ts";
import type { RunRequest } from "../harness/run/request.ts";
import { play, request, wrong } from "./testing.ts";

/** The Linux guest with a raw and an ext4 disk: what it wrote is there, once, and nothing else. */

const ended = new AbortController();
afterAll(() => ended.abort());

const STORAGE_LINKS = ["storage-link-cut", "storage-link-silent", "storage-link-slow"];
const WITH_DISKS: Readonly<Record<Recovery, readonly string[]>> = {
  stock: ["no-fault", "link-cut-healed", ...STORAGE_LINKS],
  txsync: ["no-fault", "target-host-killed", "target-qemu-killed", "source-host-killed", ...STORAGE_LINKS],
};

function withDisks(id: string, recovery: Recovery): RunRequest {
  return { ...request(id, { recovery, guest: "linux", memory_mib: 256 }), configuration: { disks: ["raw", "ext4"] } };
}

test.each(
  ["7.2", "10.0", "11.1"].flatMap((qemu) =>
    (["stock", "txsync"] as const).map((recovery) => [qemu, recovery] as const),
  ),
)(
  "QEMU %s, %s",
  async (qemu, recovery) => {
    const environment = await prepareRuns(qemu, ended.signal, { storage: true });
    const requests = WITH_DISKS[recovery].map((id) => withDisks(id, recovery));
    expect(wrong(await play(environment, requests))).toEqual([]);
  },
  900_000,
);
