import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DEFAULT_QEMU, QEMU_NAMES } from "../fleet/images.ts";
import { DrillHost } from "./drill-host.ts";
import { expectWhole, KILLED_AT_ANY_MOMENT, killedAtAnyMoment, tell } from "./testing/whole.ts";

describe.each(QEMU_NAMES)("transactions on QEMU %s", (qemu) => {
  let host: DrillHost;
  /** What `auto` has to choose here as long as the migration goes on. */
  let quick: "quick" | "sure";
  beforeAll(async () => {
    host = await DrillHost.start(qemu);
    quick = (await host.kernelTracks()) ? "quick" : "sure";
  });
  afterAll(async () => {
    await host?.[Symbol.asyncDispose]();
  });

  test("the quick way finds every page that the sure way finds, and the machine comes back whole", async () => {
    const report = await host.drill({ compare: true, afterlife: true });
    tell("quick and compared", report);
    expect(report.modes).toEqual([quick]);
    expect(report.compared).toBe(quick === "quick" ? report.transactions : 0);
    expect(report.missed_pages).toBe(0);
    // Null on a busy machine, where the stream has brought all before the first look. One was on its way when it began.
    expect(report.look_requests ?? 0).toBeLessThanOrEqual(1);
    expect(report.small_block_pages_changed).toBeGreaterThan(0);
    expectWhole(report);
    expect(report.afterlife).toEqual({
      migrated_again: true,
      ram_ok: true,
      boot_id_changed: true,
      ram_ok_after_reset: true,
      guest_bad_pages: 0,
    });
  });

  test("tracking ends with the migration: the sure way goes on by itself, and nothing is lost", async () => {
    const report = await host.drill({ until_completed: true, bandwidth_mib_s: 64, rate: 0, consume: true });
    tell("beyond the end of the migration", report);
    expect(report.modes).toEqual([...new Set([quick, "sure"])]);
    expectWhole(report);
  });

  test.runIf(qemu === DEFAULT_QEMU)(
    "a lost note of the kernel's is seen by the comparison: the comparison bites",
    async () => {
      const report = await host.drill({ compare: true, lose_notes: true, transactions: 4 });
      tell("with lost notes", report);
      expect(report.missed_pages).toBeGreaterThan(0);
    },
  );

  test("an agent that comes back goes on from where the one before it was", async () => {
    const report = await host.drill({ reopen: true, bandwidth_mib_s: 24 });
    tell("after a restart of the agent", report);
    expect(report.modes).toEqual([quick]);
    expectWhole(report);
  });

  // On the others in drill.large.test.ts: it takes longest, and what they have of their own the drills above meet.
  test.runIf(qemu === DEFAULT_QEMU).for(["auto", "sure"] as const)(KILLED_AT_ANY_MOMENT, async (prefer) => {
    await killedAtAnyMoment(host, prefer, quick);
  });

  test.runIf(qemu === DEFAULT_QEMU)("without the shim the sure way is chosen, with the same result", async () => {
    const report = await host.drill({ shim: null, bandwidth_mib_s: 64 });
    tell("without the shim", report);
    expect(report.modes).toEqual(["sure"]);
    expectWhole(report);
  });

  test.runIf(qemu === DEFAULT_QEMU)("the same under real KVM, where a guest runs there", async ({ skip }) => {
    const kvm = await host.kvm();
    if (!kvm.ran) skip(`no guest runs under KVM: ${kvm.why}`);
    // KVM may have to emulate this guest, at about a microsecond an instruction: little work, slowly carried over.
    const small = { rate: 400, guest_pages: 2048, guest_checks_pages: 16, bandwidth_mib_s: 3 };
    const report = await host.drill({ accel: "kvm", compare: true, consume: true, afterlife: true, ...small });
    tell("under KVM", report);
    expect(report.missed_pages).toBe(0);
    expectWhole(report);
    expect(report.afterlife?.ram_ok).toBe(true);
    expect(report.afterlife?.ram_ok_after_reset).toBe(true);
  });

  test.runIf(qemu === DEFAULT_QEMU)("looking for changed pages fills no hole of the RAM file", async () => {
    const { stdout } = await host.sh(`
      cd /dev/shm && truncate -s 64M holes && printf x | dd of=holes bs=4096 seek=77 conv=notrunc 2>/dev/null
      stat -c %b holes
      printf '%s\\n' "attach $$" "block 0 0 file /dev/shm/holes" "modified /dev/shm/holes.modified" \\
        "spool /dev/shm/holes.spool" "take sure 1 0" settle release "find sure" "absorb 9" "present 0" quit |
        /opt/ferryman/bin/pagescan | grep -a -o -E "ok (pages|runs)=" | wc -l
      stat -c %b holes
      rm holes holes.*`);
    expect(stdout.trim().split("\n")).toEqual(["8", "6", "8"]);
  });
});
