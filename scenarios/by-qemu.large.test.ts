import { afterAll, expect, test } from "vitest";
import { accelFor, prepareRuns } from "../harness/run/prepare.ts";
import { byQemu, playWithAgents, wrong } from "./testing.ts";

/** What `scenarios.real.test.ts` has by QEMU's own migration, for more faults and on every QEMU: too much for every `npm test`. */

const ended = new AbortController();
afterAll(() => ended.abort());

const FAULTS = ["target-host-killed", "target-qemu-killed", "source-host-killed", "link-cut-for-good"];

test("nothing is lost where a host, a QEMU, an agent or the link breaks", async () => {
  const environment = await prepareRuns("10.0", ended.signal);
  const more = ["cut-between-package-and-running", "target-agent-killed"];
  expect(wrong(await playWithAgents(environment, byQemu([...more, ...FAULTS])))).toEqual([]);
}, 900_000);

test.each(["7.2", "11.1"])(
  "QEMU %s carries the VM itself",
  async (qemu) => {
    const environment = await prepareRuns(qemu, ended.signal);
    expect(wrong(await playWithAgents(environment, byQemu(["no-fault", "still-audit", "target-host-killed"])))).toEqual(
      [],
    );
  },
  900_000,
);

test("under real KVM too, where KVM runs anything at all", async (context) => {
  const environment = await prepareRuns("10.0", ended.signal);
  const { accel, why } = await accelFor(environment, "integrity", "auto");
  if (accel !== "kvm") context.skip(why);
  expect(wrong(await playWithAgents(environment, byQemu(["no-fault", "still-audit"], { accel })))).toEqual([]);
}, 600_000);
