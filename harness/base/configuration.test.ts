import { describe, expect, it } from "vitest";
import { configurationSchema, configurationTexts, mergeConfigurations } from "./configuration.ts";

describe("a configuration", () => {
  it("over another one changes what it names, capabilities and parameters one by one", () => {
    const scenario = { vcpus: 2, capabilities: { multifd: true, xbzrle: true }, parameters: { "multifd-channels": 4 } };
    const asked = { vcpus: 4, capabilities: { xbzrle: false } };
    expect(mergeConfigurations(scenario, asked)).toEqual({
      vcpus: 4,
      capabilities: { multifd: true, xbzrle: false },
      parameters: { "multifd-channels": 4 },
    });
    expect(mergeConfigurations(undefined, undefined)).toEqual({});
    expect(mergeConfigurations(scenario)).toEqual(scenario);
  });

  it.each([
    ["a name that QAPI has not", { capabilities: { "Multi FD": true } }],
    ["a number that is none", { vcpus: 0 }],
    ["a word that nobody knows", { ram: "swap" }],
    ["a field that nobody knows", { vcpu: 2 }],
    ["a switchover before the beginning", { switchover: { after_ms: -1 } }],
  ])("is refused with %s", (_what, wrong) => {
    expect(configurationSchema.safeParse(wrong).success).toBe(false);
  });

  it("is told in words, one for each thing", () => {
    const configuration = configurationSchema.parse({
      capabilities: { "postcopy-preempt": true, events: false },
      parameters: { "multifd-channels": 4 },
      qemu_args: ["-device", "virtio-net-pci"],
      vcpus: 2,
      disks: ["raw", { kind: "ext4", format: "qcow2" }],
      bandwidth_bytes_per_s: 8 * 1024 ** 2,
      switchover: { after_ms: 300 },
      tls: "psk",
    });
    expect(configurationTexts(configuration)).toEqual([
      "postcopy-preempt",
      "events off",
      "multifd-channels=4",
      "QEMU with -device virtio-net-pci",
      "vCPUs 2",
      "disks raw, ext4 in qcow2",
      "at most 8 MiB/s",
      "switchover after=300",
      "TLS psk",
    ]);
    expect(configurationTexts({})).toEqual([]);
  });
});
