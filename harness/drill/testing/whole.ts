import { expect } from "vitest";
import type { DrillHost } from "../drill-host.ts";
import type { DrillReport } from "../report.ts";

/** What has to hold after every drill, however the pages were found. */
export function expectWhole(report: DrillReport): void {
  expect(report.base_pages_ok).toBe(true);
  expect(report.restored).toMatchObject({
    ram_ok: true,
    ram_bad: 0,
    steps: report.steps_at_last_transaction,
    ram_ok_after_run: true,
    guest_bad_pages: 0,
    guest_errors: 0,
    small_block_ok: true,
  });
  expect(report.restored.steps_after_run).toBeGreaterThan(report.restored.steps);
  expect(report.steps_at_last_transaction).toBeGreaterThan(report.steps_at_switchover);
}

/** The figures of a drill, for people: kept in the test's output. */
export function tell(what: string, report: DrillReport): void {
  process.stdout.write(`${what} on QEMU ${report.qemu_version}: ${JSON.stringify(report)}\n`);
}

export const KILLED_AT_ANY_MOMENT =
  "killed at any moment and started again: base and log are the memory, every time (%s)";

/** @param quick what `auto` has to choose here */
export async function killedAtAnyMoment(
  host: DrillHost,
  prefer: "auto" | "sure",
  quick: "quick" | "sure",
): Promise<void> {
  const report = await host.drill({ trouble: true, prefer, transactions: 24, bandwidth_mib_s: 4, rate: 3000 });
  tell(`with an agent that is killed (${prefer})`, report);
  expect(report.modes).toContain(prefer === "auto" ? quick : "sure");
  expect(report.lives).toBeGreaterThan(5);
  expect(report.witnessed).toMatchObject({ wrong_pages: 0, wrong_digests: 0 });
  expect(report.witnessed?.pages_compared).toBeGreaterThan(10_000);
  expectWhole(report);
}
