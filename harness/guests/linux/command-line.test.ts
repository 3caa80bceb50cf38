import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { UserError } from "../../base/errors.ts";
import { linuxBootArguments, linuxCommandLine, patternBytesFor } from "./command-line.ts";

const MIB = 1024 * 1024;

describe("linuxCommandLine", () => {
  it("carries every setting once, and nothing that the kernel would split elsewhere", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 4096 }),
        fc.maxSafeNat(),
        fc.integer({ min: 0, max: 10_000_000 }),
        fc.integer({ min: 1, max: 8 }),
        (mib, seed, rate_pages_per_s, workers) => {
          const words = linuxCommandLine({ pattern_bytes: mib * MIB, seed, rate_pages_per_s, workers }).split(" ");
          expect(words.filter((word) => word.startsWith("ferryman."))).toEqual([
            `ferryman.mem=${mib}`,
            `ferryman.seed=${seed}`,
            `ferryman.rate=${rate_pages_per_s}`,
            `ferryman.workers=${workers}`,
          ]);
          expect(words).toContain("oops=panic");
        },
      ),
    );
  });

  it("names what is done with each disk, where there are any", () => {
    const settings = { pattern_bytes: MIB, seed: 1 };
    expect(linuxCommandLine({ ...settings, disks: ["raw", "ext4"] })).toMatch(/ ferryman\.disks=raw,ext4$/);
    expect(linuxCommandLine({ ...settings, disks: ["raw"], disk_bus: "scsi" })).toMatch(
      / ferryman\.disks=raw ferryman\.bus=scsi$/,
    );
    expect(linuxCommandLine({ ...settings, disks: [] })).not.toContain("ferryman.disks");
  });

  it("has the kernel's watchdogs on where they are asked for, and off else", () => {
    const settings = { pattern_bytes: MIB, seed: 1 };
    expect(linuxCommandLine(settings)).toContain(" nowatchdog ");
    const watched = linuxCommandLine({ ...settings, watchdogs: true });
    expect(watched).not.toContain("nowatchdog ");
    expect(watched).not.toContain("stall_suppress");
    expect(watched).toContain(" softlockup_panic=1 ");
  });

  it("refuses what the guest would refuse, or read otherwise", () => {
    const good = { pattern_bytes: 32 * MIB, seed: 1 };
    for (const bad of [
      { pattern_bytes: 0 },
      { pattern_bytes: MIB + 1 },
      { pattern_bytes: Number.NaN },
      { seed: -1 },
      { seed: 0.5 },
      { seed: 2 ** 53 },
      { rate_pages_per_s: 1e8 },
      { working_set_bytes: 0 },
      { working_set_bytes: MIB + 1 },
      { working_set_bytes: 33 * MIB },
      { disk_pace_ms: -1 },
      { workers: 0 },
      { workers: 9 },
      { extra: ["two words"] },
      { extra: ["ferryman.seed=3"] },
      { extra: ["x".repeat(2000)] },
    ]) {
      expect(() => linuxCommandLine({ ...good, ...bad }), JSON.stringify(bad)).toThrow(UserError);
    }
    expect(linuxCommandLine({ ...good, extra: ["initcall_debug"] })).toContain("initcall_debug ");
    expect(linuxCommandLine({ ...good, working_set_bytes: 32 * MIB })).toContain(" ferryman.set=32 ");
  });

  it("gives the pattern most of what the kernel leaves, and refuses a guest that would not boot", () => {
    expect(patternBytesFor(128 * MIB)).toBe(32 * MIB);
    expect(patternBytesFor(129 * MIB)).toBe(32 * MIB);
    expect(patternBytesFor(256 * MIB)).toBe(117 * MIB);
    expect(() => patternBytesFor(64 * MIB)).toThrow(UserError);
    expect(() => patternBytesFor(Number.NaN)).toThrow(UserError);
  });

  it("hands the command line to QEMU as one argument", () => {
    const settings = { pattern_bytes: 32 * MIB, seed: 1 };
    expect(linuxBootArguments("/guests/linux", settings)).toEqual([
      "-kernel",
      "/guests/linux/vmlinux",
      "-initrd",
      "/guests/linux/initramfs",
      "-append",
      linuxCommandLine(settings),
    ]);
  });
});
