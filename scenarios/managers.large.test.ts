import { afterAll, describe, expect, test } from "vitest";
import type { Manager } from "../harness/base/configuration.ts";
import type { RunRecord } from "../harness/base/run-record.ts";
import { prepareRuns } from "../harness/run/prepare.ts";
import { play, request, wrong } from "./testing.ts";

const ended = new AbortController();
afterAll(() => ended.abort());

/** Runs some scenarios with one manager, as they say they come out. */
async function carriedBy(manager: Manager, qemu: string, ids: readonly string[]): Promise<readonly RunRecord[]> {
  const environment = await prepareRuns(qemu, ended.signal, { libvirt: true });
  return await play(
    environment,
    ids.map((id) => ({ ...request(id), configuration: { manager } })),
    1,
  );
}

describe.each(["7.2", "10.0"])("with QEMU %s and Debian's libvirt beside it", (qemu) => {
  test.each<[Manager, readonly string[]]>([
    ["libvirt", ["no-fault", "link-cut-healed", "link-cut-silent-healed", "source-qemu-killed", "target-qemu-killed"]],
    ["libvirt:resume", ["link-cut-healed", "libvirt-resume"]],
  ])("%s: everything comes out as it says", async (manager, ids) => {
    const records = await carriedBy(manager, qemu, ids);
    expect(wrong(records)).toEqual([]);
    expect(new Set(records.map((record) => record.manager))).toEqual(new Set([manager]));
  });
});
