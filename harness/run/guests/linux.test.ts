import { expect, it } from "vitest";
import type { StartedVm } from "../../fleet/vm.ts";
import { LinuxGuest } from "./linux.ts";

const PATIENCE_MS = 60_000;

/** A QEMU that runs, and whose guest says no more than what its console is given here. */
const vm = {
  ram_path: "/dev/shm/ram",
  host: { role: "source", run: async () => "8\n" },
  process: { gone: false, lastLines: () => [] },
} as unknown as StartedVm;

function guest(): LinuxGuest {
  return new LinuxGuest({
    seed: 1,
    memory_bytes: 256 * 2 ** 20,
    accel: "tcg",
    emit: () => undefined,
    looking: { patience_ms: PATIENCE_MS },
  } as never);
}

it("does not wait for a guest whose kernel breaks as it boots, and says how", async () => {
  const linux = guest();
  const booted = linux.booted(vm);
  linux.onConsole("source", "[    1.294281] int3: 0000 [#1] PREEMPT SMP PTI");
  linux.onConsole("source", "[    1.295374] Kernel panic - not syncing: Fatal exception in interrupt");
  await expect(booted).rejects.toThrow(/broke as it booted: .*Fatal exception in interrupt/);
});

it("is content with one that does its first step", async () => {
  const linux = guest();
  const booted = linux.booted(vm);
  linux.onConsole(
    "source",
    "[    2.1] FERRYMAN-LINUX step n=1 errors=0 checked=9 uptime=2100 pipe=1 stack=1 file=1 spawn=1 disk=0",
  );
  await booted;
});
