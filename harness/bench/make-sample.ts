import { figuresOf, notesOf } from "./figures.ts";
import type { Configuration, Planned } from "./plan.ts";
import type { BenchResult, Sample } from "./result.ts";
import { BENCH_VERSION } from "./result.ts";

/** A sample that came out well, for tests of whoever makes or shows figures. */
export function makeSample(planned: Planned, change: Partial<Sample> = {}): Sample {
  return {
    ...planned,
    verdict: "intact",
    as_expected: true,
    why: "all checks hold",
    run: `runs/${planned.scenario}-${planned.recovery}-${planned.turn}`,
    took_ms: 10_000,
    load_before: 0.5,
    measures: { total_ms: 2_000 },
    pauses: [],
    output_waits_ms: [],
    ...change,
  };
}

/** A bench of these samples, for tests of the writers. */
export function makeBench(configurations: readonly Configuration[], samples: readonly Sample[]): BenchResult {
  return {
    version: BENCH_VERSION,
    started_at: "2026-01-01T00:00:00.000Z",
    finished_at: "2026-01-01T01:00:00.000Z",
    command: "npx tsx harness/cli.ts bench --seed 7",
    quick: false,
    planned: samples.length,
    repeat: 1,
    seed: 7,
    qemu: "10.0",
    qemu_version: "10.0.13 (Debian)",
    accel: "tcg",
    accel_why: "asked for",
    guest: "integrity",
    vm: [],
    switchover_by: "agent",
    cap_bytes_per_s: 64 * 1024 ** 2,
    versions: { node: "v24.0.0" },
    machine: {
      processors: 2,
      processor: "a processor",
      memory_bytes: 16 * 1024 ** 3,
      kernel: "6.18",
      architecture: "x64",
      load_before: [0.1, 0.2, 0.3],
      quiet: true,
    },
    notes: notesOf(samples, samples.length),
    figures: figuresOf(configurations, samples),
    samples,
  };
}
