import type { SuiteRun } from "../read.ts";

/**
 * One JSON object a run, one a line, in the words of `run --json`: scenario, recovery, accel, qemu, seed, verdict,
 * asExpected, checks, timings, run (folder).
 */
export function ndjsonOf(runs: readonly SuiteRun[]): string {
  return runs.map((run) => `${JSON.stringify(runLine(run))}\n`).join("");
}

/** The object of one run. */
export function runLine({ path, record }: SuiteRun): Record<string, unknown> {
  return {
    version: record.version,
    scenario: record.scenario,
    recovery: record.recovery,
    accel: record.accel,
    guest: record.guest,
    qemu: record.qemu,
    qemuVersion: record.qemu_version,
    seed: record.seed,
    verdict: record.verdict,
    expected: record.expected,
    asExpected: record.as_expected,
    why: record.why,
    checks: record.checks.map(({ check, verdict, summary }) => ({ check, verdict, summary })),
    timings: record.timings,
    ...(record.tries === undefined ? {} : { tries: record.tries }),
    command: record.command,
    run: path,
    ...(record.error === undefined ? {} : { error: record.error }),
  };
}
