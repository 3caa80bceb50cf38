import type { HostRole, LinkName } from "../base/timeline.ts";
import type { StartedFleet } from "../fleet/fleet.ts";

/** A process that may be killed or frozen; `pid` is looked up when the fault strikes. */
export type ProcessName = "qemu" | "agent";

/** What a fault is given to work with: the fleet, and the pids of the processes on it. */
export interface FaultContext {
  readonly fleet: StartedFleet;
  /** Pid inside the host, or undefined where no such process runs. */
  readonly pid: (host: HostRole, process: ProcessName) => number | undefined;
}

/** Undoes what `inject` did. */
export type Heal = () => Promise<void>;

/** A kind of fault. `Spec` is plain data: what a scenario says. */
export interface Fault<Spec extends { readonly fault: string }> {
  readonly name: Spec["fault"];
  /** Where it strikes, for people: "source", "link source-target". */
  readonly where: (spec: Spec) => string;
  /**
   * Breaks it. Resolves when it is broken: to the way to heal it, or to undefined where healing means nothing
   * (what is dead stays dead).
   */
  readonly inject: (spec: Spec, context: FaultContext) => Promise<Heal | undefined>;
}

export interface OnHost {
  readonly host: HostRole;
}
export interface OnProcess extends OnHost {
  readonly process: ProcessName;
}
export interface OnLink {
  readonly link: LinkName;
}

/** @throws Error naming the host when the process is not running there. */
export function pidOf(spec: OnProcess, context: FaultContext): number {
  const pid = context.pid(spec.host, spec.process);
  if (pid === undefined) throw new Error(`there is no ${spec.process} on ${spec.host} that could be hit`);
  return pid;
}
