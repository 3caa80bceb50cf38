import { RUN_RECORD_VERSION, type RunRecord } from "../base/run-record.ts";

/** A record of a run that came out well, for tests of whoever shows one. */
export function makeRecord(change: Partial<RunRecord> = {}): RunRecord {
  return {
    version: RUN_RECORD_VERSION,
    id: "no-fault-stock-tcg-00000000",
    started_at: "2026-01-01T00:00:00.000Z",
    scenario: "no-fault",
    title: "nothing breaks",
    group: "controls",
    recovery: "stock",
    accel: "tcg",
    accel_why: "asked for",
    guest: "integrity",
    qemu: "10.0",
    qemu_version: "10.0.13 (Debian)",
    seed: 7,
    memory_bytes: 128 * 1024 ** 2,
    faults: [],
    expected: "intact",
    verdict: "intact",
    as_expected: true,
    why: "all checks hold",
    checks: [],
    timings: { total_ms: 4_210 },
    command: "npx tsx harness/cli.ts run no-fault",
    versions: {},
    ...change,
  };
}
