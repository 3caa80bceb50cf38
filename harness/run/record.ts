import { RUN_RECORD_VERSION, type RunRecord, type RunTimings } from "../base/run-record.ts";
import type { Verdict } from "../base/timeline.ts";
import type { Judged } from "../checks/verdict.ts";
import { isOwnFault, stopsVmOf, whereOf } from "../faults/index.ts";
import { configurationOf, managerOf } from "./configure.ts";
import { type Expected, limitsUnder } from "./expectation.ts";
import { guestName } from "./guests/index.ts";
import { DEFAULT_PATIENCE_MS } from "./looking.ts";
import type { QemuOfHosts, RunEnvironment, RunRequest } from "./request.ts";
import type { Scenario } from "./scenario.ts";
import { momentBefore, triggerText } from "./trigger.ts";

/** How a run came out. */
export interface Outcome {
  readonly id: string;
  readonly started_at: string;
  readonly judged: Judged;
  readonly evidence_sha256: string;
  readonly expected: Expected;
  readonly as_expected: boolean;
  /** How often the migration was asked for, where that is counted. */
  readonly tries: number | undefined;
  readonly timings: RunTimings;
  /** Why the harness itself failed, where it did. */
  readonly error: string | undefined;
}

/** What `run.json` holds: everything that was asked for, and what came out. */
export function recordOf(environment: RunEnvironment, request: RunRequest, outcome: Outcome): RunRecord {
  const { scenario } = request;
  const configuration = configurationOf(request);
  const limits = limitsUnder(scenario, request.recovery);
  const manager = managerOf(request);
  const { id, started_at, judged, evidence_sha256, expected, as_expected, tries, timings, error } = outcome;
  return {
    version: RUN_RECORD_VERSION,
    id,
    started_at,
    scenario: scenario.id,
    title: scenario.title,
    group: scenario.group,
    recovery: request.recovery,
    ...(manager === undefined ? {} : { manager }),
    accel: request.accel,
    accel_why: request.accel_why,
    guest: guestName(request.guest),
    qemu: ofBoth(environment, ({ qemu }) => qemu),
    qemu_version: ofBoth(environment, ({ qemu_version }) => qemu_version),
    seed: request.seed,
    memory_bytes: request.memory_bytes,
    ...(Object.keys(configuration).length === 0 ? {} : { configuration }),
    ...scenario.work,
    ...request.work,
    patience_ms: request.patience_ms ?? DEFAULT_PATIENCE_MS,
    ...(tries === undefined ? {} : { tries }),
    faults: faultsRecorded(scenario),
    ...(limits.length === 0 ? {} : { limits }),
    expected: expected.verdict,
    ...whyExpected(expected, judged.verdict),
    ...(scenario.cell === undefined ? {} : { cell: scenario.cell }),
    ...(request.job === undefined ? {} : { job: request.job }),
    verdict: judged.verdict,
    as_expected,
    why: judged.why,
    checks: judged.checks,
    evidence_sha256,
    timings,
    command: environment.commandOf(environment, request),
    versions: environment.versions,
    ...(error === undefined ? {} : { error }),
  };
}

function whyExpected({ why, too = [] }: Expected, found: Verdict): Pick<RunRecord, "expected_why" | "allowed"> {
  const said = too.find(({ verdict }) => verdict === found)?.why ?? why;
  return {
    ...(said === undefined ? {} : { expected_why: said }),
    ...(too.length === 0 ? {} : { allowed: too.map(({ verdict }) => verdict) }),
  };
}

/** The faults of a scenario as a record has them: for people, for matrices, and to judge the run again. */
export function faultsRecorded({ faults }: Pick<Scenario, "faults">): RunRecord["faults"] {
  return faults.map(({ fault, at }) => {
    const [before, stops] = [momentBefore(at), stopsVmOf(fault)];
    return {
      fault: fault.fault,
      on: whereOf(fault),
      at: triggerText(at),
      ...(!isOwnFault(fault) && fault.fault === "qmp"
        ? { asks: { what: `${fault.command} on ${fault.host}`, answer: fault.answer ?? "in-time" } }
        : {}),
      ...(before === undefined ? {} : { before }),
      ...(stops === undefined ? {} : { stops }),
    };
  });
}

/** Where source and target have different QEMUs, both. */
function ofBoth(environment: RunEnvironment, what: (qemu: QemuOfHosts) => string): string {
  const { target } = environment;
  return target === undefined ? what(environment) : `${what(environment)} to ${what(target)}`;
}
