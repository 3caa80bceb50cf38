import { afterAll, describe, expect, test } from "vitest";
import type { Manager } from "../harness/base/configuration.ts";
import type { RunRecord } from "../harness/base/run-record.ts";
import { prepareRuns } from "../harness/run/prepare.ts";
import type { RunRequest } from "../harness/run/request.ts";
import type { FaultPlan } from "../harness/run/scenario.ts";
import { play, request, wrong } from "./testing.ts";

const ended = new AbortController();
afterAll(() => ended.abort());

/** What breaks libvirt, and not the stream. */
const OF_LIBVIRT: readonly FaultPlan["fault"][] = [
  { fault: "cut-silent", link: "libvirt", direction: "both" },
  { fault: "kill-manager", host: "source", part: "client" },
  { fault: "kill-manager", host: "source", part: "daemon" },
  { fault: "kill-manager", host: "target", part: "daemon" },
];

function brokenInPostcopy(fault: FaultPlan["fault"]): RunRequest {
  const { scenario, ...rest } = request("no-fault");
  const at = { on: "pages", percent: 30 } as const;
  // A daemon that was killed is started again.
  const heal = { on: "fault", index: 0, after_ms: 2_000 } as const;
  const daemon = fault.fault === "kill-manager" && fault.part === "daemon";
  const plan: FaultPlan = { fault, at, ...(daemon ? { heal } : {}) };
  return {
    ...rest,
    scenario: { ...scenario, id: `no-fault-but-${fault.fault}`, faults: [plan] },
    configuration: { manager: "libvirt" },
  };
}

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

  test("its VM takes its disks along", async () => {
    const environment = await prepareRuns(qemu, ended.signal, { libvirt: true, storage: true });
    const asked = {
      ...request("no-fault", { guest: "linux", memory_mib: 192 }),
      configuration: { manager: "libvirt", disks: ["raw", "ext4"] },
    } as const;
    expect(wrong(await play(environment, [asked], 1))).toEqual([]);
  });

  test("what breaks libvirt in post-copy costs no VM: the stream goes from QEMU to QEMU", async () => {
    const environment = await prepareRuns(qemu, ended.signal, { libvirt: true });
    const records = await play(environment, OF_LIBVIRT.map(brokenInPostcopy), 1);
    expect(records.map(({ verdict, why }) => [verdict, why]).filter(([verdict]) => verdict !== "intact")).toEqual([]);
  });
});
