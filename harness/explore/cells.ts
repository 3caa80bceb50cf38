import type { Manager } from "../base/configuration.ts";
import type { Recovery } from "../base/run-record.ts";
import type { FleetHost, HostRole } from "../base/timeline.ts";
import { whereOf } from "../faults/index.ts";
import type { FaultPlan, Scenario } from "../run/scenario.ts";
import { PURE_POSTCOPY } from "../run/scenario.ts";
import { STEP_NAMES, type StepName } from "../run/steps.ts";
import { allowedOf, type ModelWorld } from "./model.ts";
import { reachableSteps, wayTo } from "./reach.ts";
import { type Deed, repertoire } from "./repertoire.ts";

/** One fault at one step under one recovery. */
export interface MatrixCell {
  readonly step: StepName;
  readonly deed: Deed;
  readonly recovery: Recovery;
  /** Everything that strikes: what brings the run to the step, and the fault itself as the last. */
  readonly plans: readonly FaultPlan[];
}

/** What of all that there is is asked for; names as globs. */
export interface CellFilter {
  readonly steps?: readonly string[];
  readonly faults?: readonly string[];
}

/** Every fault at every step at which it can happen, in the order of the steps, then of the repertoire. */
export function cellsOf(
  recovery: Recovery,
  { steps, faults }: CellFilter = {},
  manager?: Manager,
): readonly MatrixCell[] {
  const wanted = (name: string, globs: readonly string[] | undefined): boolean =>
    globs === undefined || globs.some((glob) => globOf(glob).test(name));
  return reachableSteps(recovery, manager)
    .filter((step) => wanted(step, steps))
    .flatMap((step) =>
      repertoire(recovery, manager)
        .filter(({ name }) => wanted(name, faults))
        .flatMap((deed) => cellOf(step, deed, recovery) ?? []),
    );
}

function cellOf(step: StepName, deed: Deed, recovery: Recovery): MatrixCell | undefined {
  const way = wayTo(step, recovery);
  if (way === undefined || !canStrike(deed, way.before) || !isThere(step, deed, recovery)) return undefined;
  return { step, deed, recovery, plans: [...way.before, planOf(deed, way.at, way.before.length)] };
}

/** A deed at a moment. @param index which of a scenario's faults it is */
export function planOf({ fault, lasts_ms }: Deed, at: FaultPlan["at"], index: number): FaultPlan {
  if (lasts_ms === undefined) return { fault, at };
  return { fault, at, heal: { on: "fault", index, after_ms: lasts_ms } };
}

/** What is dead cannot be broken, nor what leads to it. */
export function canStrike({ fault }: Deed, before: readonly FaultPlan[]): boolean {
  const dead = before.flatMap((plan) => (plan.fault.fault === "kill-host" ? [plan.fault.host] : []));
  const qemus = before.flatMap(({ fault: first }) =>
    first.fault === "kill-process" && first.process === "qemu" ? [first.host] : [],
  );
  const on: readonly FleetHost[] = "host" in fault ? [fault.host] : "link" in fault ? endsOf(fault.link) : [];
  if (on.some((role) => dead.some((one) => one === role))) return false;
  return !("process" in fault && fault.process === "qemu" && qemus.includes(fault.host));
}

/** Under txsync the source has no QEMU any more once the VM was handed off. */
function isThere(step: StepName, { fault }: Deed, recovery: Recovery): boolean {
  const standby = "process" in fault && fault.process === "qemu" && fault.host === "source";
  return !(recovery === "txsync" && step === "handoff" && standby);
}

function endsOf(link: string): readonly HostRole[] {
  return (["source", "target", "escrow"] as const).filter((role) => link.split("-").includes(role));
}

/** The scenario of a cell: what ought to come of it is what the model says. */
export function scenarioOf({ step, deed, recovery, plans }: MatrixCell, world: ModelWorld): Scenario {
  const { lasts_ms, fault } = deed;
  const lasts = lasts_ms === undefined ? "" : ` for ${lasts_ms / 1000} s`;
  return modelled(
    {
      id: `${deed.name}-at-${step}`,
      group: "matrix",
      title: `${fault.fault} (${whereOf(fault)})${lasts} at ${step}`,
      plans,
      recovery,
    },
    world,
    { fault: `${fault.fault} on ${whereOf(fault)}${lasts}`, step, order: STEP_NAMES.indexOf(step) },
  );
}

/** A scenario that expects what the model allows. */
export function modelled(
  about: {
    readonly id: string;
    readonly group: string;
    readonly title: string;
    readonly plans: readonly FaultPlan[];
    readonly recovery: Recovery;
  },
  world: ModelWorld,
  cell?: Scenario["cell"],
): Scenario {
  const { id, group, title, plans, recovery } = about;
  const { verdicts, why } = allowedOf(plans, world);
  const [best = "intact", ...others] = verdicts;
  return {
    id,
    group,
    title,
    guests: ["integrity", "linux"],
    migration: PURE_POSTCOPY,
    faults: plans,
    expect: { [recovery]: best },
    ...(others.length === 0 ? {} : { allow: others.map((verdict) => ({ under: recovery, verdict, why })) }),
    ...(cell === undefined ? {} : { cell }),
  };
}

/**
 * A slice of the matrix: each of its steps once, the faults in turn. Slices 0, 1, 2, … together are the whole of it;
 * every one of them touches every step.
 */
export function sliceOf(cells: readonly MatrixCell[], slice: number): readonly MatrixCell[] {
  const of = Map.groupBy(cells, ({ recovery, step }) => `${recovery} ${step}`);
  return [...of.values()].flatMap((atStep, index) => {
    // Seven steps on for each step: a fault meets many, and none of its kind stands beside it.
    const cell = atStep[(slice + index * 7) % atStep.length];
    return cell === undefined ? [] : [cell];
  });
}

export function globOf(glob: string): RegExp {
  const parts = [...glob].map((sign) => {
    if (sign === "*") return ".*";
    return sign === "?" ? "." : sign.replace(/[\\^$.|+()[\]{}]/, "\\$&");
  });
  return new RegExp(`^${parts.join("")}$`);
}
