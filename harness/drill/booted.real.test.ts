import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DEFAULT_QEMU, QEMU_NAMES } from "../fleet/images.ts";
import type { BootedReport } from "./booted.ts";
import { DrillHost } from "./drill-host.ts";

function tell(what: string, report: BootedReport): void {
  process.stdout.write(`${what} on QEMU ${report.qemu_version}: ${JSON.stringify(report)}\n`);
}

/** Nothing was missed, and the machine came back whole. */
function expectWhole(report: BootedReport): void {
  expect(report).toMatchObject({ wrong_pages: 0, wrong_digests: 0 });
  expect(report.pages_compared).toBeGreaterThan(10_000);
  expect(report.restored).toMatchObject({ ram_ok: true, guest_bad_pages: 0, guest_errors: 0 });
  expect(report.restored.steps_after_run).toBeGreaterThan(report.restored.steps_at_last_transaction);
}

describe.each(QEMU_NAMES)("tracking from outside: a QEMU %s that was only booted", (qemu) => {
  let host: DrillHost;
  let quick: "quick" | "sure";
  beforeAll(async () => {
    host = await DrillHost.start(qemu);
    quick = (await host.kernelTracks()) ? "quick" : "sure";
  });
  afterAll(async () => {
    await host?.[Symbol.asyncDispose]();
  });

  test("no page is missed, whoever tracks may be killed, and the machine comes back whole", async () => {
    const report = await host.booted({ reopen: true, transactions: 20 });
    tell("booted", report);
    expect(report.mode).toBe(quick);
    if (quick === "quick") expect(report).toMatchObject({ armed_again_pages: 0, mode_why: "tracked from outside" });
    expectWhole(report);
  });

  test.runIf(qemu === DEFAULT_QEMU)("without the library the sure way does it, and says why", async () => {
    const report = await host.booted({ shim: null, transactions: 4, rate: 1000 });
    tell("booted without the library", report);
    expect(report.mode).toBe("sure");
    expect(report.mode_why).toMatch(/without the preloaded library/);
    expectWhole(report);
  });

  test.runIf(qemu === DEFAULT_QEMU)("a note that is lost is seen by the comparison: it bites", async ({ skip }) => {
    if (quick === "sure") skip("the kernel notes nothing here");
    const report = await host.booted({ lose_notes: true, transactions: 4 });
    tell("booted, with lost notes", report);
    expect(report.wrong_pages).toBeGreaterThan(0);
  });

  test.runIf(qemu === DEFAULT_QEMU)("the same under KVM, where a guest runs there", async ({ skip }) => {
    const kvm = await host.kvm();
    if (!kvm.ran) skip(`no guest runs under KVM: ${kvm.why}`);
    const report = await host.booted({ accel: "kvm", rate: 400, guest_pages: 2048, guest_checks_pages: 16 });
    tell("booted under KVM", report);
    expect(report.mode).toBe(quick);
    expectWhole(report);
  });
});
