import { loadavg } from "node:os";
import { relative } from "node:path";
import type { Configuration as RunConfiguration } from "../base/configuration.ts";
import type { TimelineEvent } from "../base/timeline.ts";
import { type NetworkFindings, seen } from "../checks/network-history.ts";
import type { AccelChoice } from "../qemu/accel.ts";
import { readEvidence } from "../run/evidence-file.ts";
import type { RunEnvironment, RunRequest } from "../run/request.ts";
import type { Scenario } from "../run/scenario.ts";
import { runSuite } from "../run/suite.ts";
import { Estimate } from "./estimate.ts";
import { measure } from "./measure.ts";
import { type Planned, VARIANTS, type VmKind } from "./plan.ts";
import type { Sample } from "./result.ts";

export interface BenchRuns {
  /** Its runs_folder is where the runs go. */
  readonly environment: RunEnvironment;
  readonly plan: readonly Planned[];
  readonly scenario: (id: string) => Scenario;
  readonly accel: AccelChoice;
  readonly vm: VmKind;
  /** Who has the VM change hosts under txsync. */
  readonly by: "agent" | "qemu";
  /** The bench's folder: samples name their runs relative to it. */
  readonly folder: string;
  readonly onStarted: (run: Planned, nth: number, left_ms: number) => void;
  readonly onSample: (sample: Sample, nth: number, left_ms: number) => void;
}

/**
 * Runs a plan, one run at a time, in its order, by way of the runner of scenarios. An interrupt ends it: what was
 * measured until then is handed back, the run that was going on is not among it.
 */
export async function benchRuns(what: BenchRuns, suite: typeof runSuite = runSuite): Promise<readonly Sample[]> {
  const { environment, plan, folder, onStarted, onSample } = what;
  const samples: Sample[] = [];
  const estimate = new Estimate();
  for (const [index, planned] of plan.entries()) {
    if (environment.signal.aborted) break;
    onStarted(planned, index + 1, estimate.left_ms(plan.slice(index)));
    const events: TimelineEvent[] = [];
    const load_before = loadavg()[0] ?? 0;
    const began_ms = performance.now();
    const [finished] = await suite(
      environment,
      [requestOf(planned, what, (event) => events.push(event))],
      1,
      () => undefined,
    );
    if (finished === undefined || environment.signal.aborted) break;
    const { record } = finished;
    const took_ms = Math.round(performance.now() - began_ms);
    estimate.ran(planned, took_ms);
    const sample: Sample = {
      ...planned,
      verdict: record.verdict,
      as_expected: record.as_expected,
      why: record.why,
      run: relative(folder, finished.folder),
      took_ms,
      load_before,
      ...measure(record, events, await networkOf(finished.folder, what.vm)),
    };
    samples.push(sample);
    onSample(sample, index + 1, estimate.left_ms(plan.slice(index + 1)));
  }
  return samples;
}

/** What a client outside saw of the VM by its card. @throws UserError where the run wrote no evidence */
async function networkOf(folder: string, vm: VmKind): Promise<NetworkFindings | undefined> {
  if (vm === "memory") return undefined;
  const { evidence } = await readEvidence(folder);
  const found = seen.of(evidence);
  return found.state === "got" ? found.value : undefined;
}

/** Of the guest that a bench of this kind measures. */
export function guestOf(vm: VmKind): "integrity" | "linux" {
  return vm === "whole" ? "linux" : "integrity";
}

/** What a whole VM has. */
export const WHOLE_VM: RunConfiguration = { vcpus: 2, net: "virtio", disks: ["raw", "ext4"] };

function requestOf(
  { scenario, recovery, variant, memory_mib, write_rate_pages_per_s, seed }: Planned,
  { vm, accel: { accel, why }, by, scenario: scenarioOf }: Pick<BenchRuns, "vm" | "accel" | "by" | "scenario">,
  onEvent: (event: TimelineEvent) => void,
): RunRequest {
  const over: Partial<RunRequest> = variant === undefined ? {} : VARIANTS[variant];
  return {
    ...over,
    ...(recovery === "txsync" ? { txsync: { switchover_by: by, ...over.txsync } } : {}),
    scenario: scenarioOf(scenario),
    recovery,
    guest: guestOf(vm),
    accel,
    accel_why: why,
    seed,
    memory_bytes: memory_mib * 1024 ** 2,
    work: { write_rate_pages_per_s, ...(vm === "whole" ? { disk_pace_ms: 0 } : {}) },
    ...(vm === "whole" ? { configuration: { ...over.configuration, ...WHOLE_VM } } : {}),
    keep: false,
    // A few hundred runs, and their figures are taken from the timeline.
    keep_log: false,
    onEvent,
  };
}
