import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Configuration } from "../harness/base/configuration.ts";
import { accelFor, prepareRuns } from "../harness/run/prepare.ts";
import { checkConfigured } from "../harness/run/probe.ts";
import type { RunEnvironment } from "../harness/run/request.ts";
import { play, playWithAgents, request, wrong } from "./testing.ts";

/** Guests, accelerators and QEMUs that the suite of every scenario (`every-*.real.test.ts`) does not have. */
const ended = new AbortController();
afterAll(() => ended.abort());

describe("with stock recovery, on the default QEMU", () => {
  let environment: RunEnvironment;
  beforeAll(async () => {
    environment = await prepareRuns("10.0", ended.signal);
  });

  test("the Linux guest arrives whole, running and held still", async () => {
    const records = await play(environment, [
      request("no-fault", { guest: "linux" }),
      request("still-audit", { guest: "linux" }),
    ]);
    expect(wrong(records)).toEqual([]);
  });

  test("the bare-metal guest runs and is carried over under real KVM, where KVM runs anything at all", async (context) => {
    const { accel, why } = await accelFor(environment, "integrity", "auto");
    if (accel !== "kvm") context.skip(why);
    const records = await play(environment, [
      request("no-fault", { accel: "kvm" }),
      request("link-cut-healed", { accel: "kvm" }),
      // KVM keeps a clock in the guest's memory: the audit has to know it.
      request("still-audit", { accel: "kvm" }),
    ]);
    expect(wrong(records)).toEqual([]);
  });
});

describe("configured in many ways at once", () => {
  async function arrivesWhole(environment: RunEnvironment, id: string, configuration: Configuration): Promise<void> {
    const asked = { ...request(id), configuration };
    await checkConfigured(environment, [asked]);
    const records = await play(environment, [asked]);
    expect(wrong(records)).toEqual([]);
    expect(records.map((record) => record.configuration)).toEqual([configuration]);
  }

  test("a VM arrives whole, and is migrated again", async () => {
    await arrivesWhole(await prepareRuns("10.0", ended.signal), "no-fault", {
      capabilities: { "postcopy-preempt": true, "postcopy-blocktime": true },
      parameters: { "announce-rounds": 2 },
      ...{ vcpus: 2, cpu: "max", ram: "memfd", transport: "unix", tls: "psk" },
      qemu_args: ["-device", "virtio-rng-pci"],
    });
  });

  test("a VM goes from the oldest QEMU to the default one by pre-copy alone", async () => {
    const environment = await prepareRuns("7.2", ended.signal, { target_qemu: "10.0" });
    await arrivesWhole(environment, "no-fault", {
      machine: "pc",
      switchover: "never",
      source_qemu: "7.2",
      target_qemu: "10.0",
    });
  });
});

test("on the oldest QEMU that is supported, nothing is lost where nothing breaks", async () => {
  const environment = await prepareRuns("7.2", ended.signal);
  const requests = (["integrity", "linux"] as const).flatMap((guest) =>
    ["no-fault", "still-audit"].map((id) => request(id, { guest })),
  );
  const records = await play(environment, requests);
  expect(wrong(records)).toEqual([]);
}, 600_000);

describe("with transaction synchronisation", () => {
  test("target, source and network may fail on the oldest QEMU that is supported", async () => {
    const environment = await prepareRuns("7.2", ended.signal);
    const requests = ["target-host-killed", "source-host-killed", "link-cut-for-good"].map((id) =>
      request(id, { recovery: "txsync" }),
    );
    const records = await playWithAgents(environment, requests);
    expect(wrong(records)).toEqual([]);
  }, 600_000);

  test("target and source may fail under real KVM, where KVM runs anything at all", async (context) => {
    const environment = await prepareRuns("10.0", ended.signal);
    const { accel, why } = await accelFor(environment, "integrity", "auto");
    if (accel !== "kvm") context.skip(why);
    const requests = ["target-host-killed", "source-host-killed"].map((id) =>
      request(id, { recovery: "txsync", accel: "kvm" }),
    );
    const records = await playWithAgents(environment, requests);
    expect(wrong(records)).toEqual([]);
  }, 600_000);
});
