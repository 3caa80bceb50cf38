import { afterAll, expect, test } from "vitest";
import { prepareRuns } from "../harness/run/prepare.ts";
import { play, request, wrong } from "./testing.ts";

/** The Linux guest with a raw and an ext4 disk: what it wrote is there, once, and nothing else. */

const ended = new AbortController();
afterAll(() => ended.abort());

test.each(["7.2", "10.0", "11.1"])(
  "QEMU %s, which reaches the storage by itself",
  async (qemu) => {
    const environment = await prepareRuns(qemu, ended.signal, { storage: true });
    const configuration = { disks: ["raw", "ext4"] } as const;
    const requests = ["no-fault", "link-cut-healed"].map((id) => ({
      ...request(id, { guest: "linux", memory_mib: 256 }),
      configuration,
    }));
    expect(wrong(await play(environment, requests))).toEqual([]);
  },
  900_000,
);
