import type { Emit, HostRole, LinkDirection, LinkName } from "../base/timeline.ts";
import type { StartedFleet } from "../fleet/fleet.ts";
import type { StartedHost } from "../fleet/host.ts";
import type { Breakable, LinkShape } from "../fleet/links.ts";
import type { QmpClient } from "../qemu/qmp.ts";

/** A process of which the harness knows the pid; it is looked up when the fault strikes. */
export type KnownProcess = "qemu" | "agent";
/** A process that may be killed or frozen. `disks` is what serves a host's QEMU its disks under txsync; its agent starts it. */
export type ProcessName = KnownProcess | "disks";

/** What manages QEMU on a host, where that is a program of its own. */
export interface ManagerProcesses {
  /** @throws Error when it does not run */
  killDaemon(): Promise<void>;
  startDaemon(): Promise<void>;
  /** Kills whoever has asked for the migration and waits for it. @throws Error when nobody does */
  killClient(): Promise<void>;
}

/** What exports the VM's disks. */
export interface StorageServer {
  /** @throws Error when it does not run */
  kill(): Promise<void>;
  start(): Promise<void>;
}

/** What a fault is given to work with: the fleet, and the pids of the processes on it. */
export interface FaultContext {
  readonly fleet: StartedFleet;
  /** Pid inside the host, or undefined where no such process runs. */
  readonly pid: (host: HostRole, process: KnownProcess) => number | undefined;
  /** A monitor of the host's QEMU, or undefined where there is none. */
  readonly monitor?: (host: HostRole, which: "control" | "oob") => QmpClient | undefined;
  /** What manages the host's QEMU, or undefined where nothing does. */
  readonly manager?: (host: HostRole) => ManagerProcesses | undefined;
  /** Ends the escrow for good and has another one in its place; absent: there is none. */
  readonly replaceEscrow?: () => Promise<void>;
  /** What exports the VM's disks, where it has some. */
  readonly storage?: StorageServer | undefined;
  /** For what a fault has to tell besides that it struck; `id` is its own on the timeline. */
  readonly emit?: Emit;
  readonly id?: string;
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
  /** What has to be in place before the migration begins, so that it can strike at all. */
  readonly prepare?: (spec: Spec, context: FaultContext) => Promise<void>;
}

/** A fault of somebody else's: an object that does it, where one of ours is data that names it. */
export interface OwnFault {
  /** What it is called on the timeline, in records and reports: `my-`, and lower-case words, so that it is none of ours. */
  readonly fault: `my-${string}`;
  /** Where it strikes, for people: "source", "link source-target". */
  readonly on: string;
  /** Breaks it. Resolves when it is broken: to the way to heal it (Heal), where it gives one back. */
  readonly inject: (context: FaultContext) => Promise<unknown>;
  /** Undoes what `inject` did, where that gave no way back; absent: what is dead stays dead. */
  readonly heal?: (context: FaultContext) => Promise<void>;
  /** What has to be in place before the migration begins. */
  readonly prepare?: (context: FaultContext) => Promise<void>;
}

export interface OnHost {
  readonly host: HostRole;
}
export interface OnProcess extends OnHost {
  readonly process: ProcessName;
}
export interface OnLink {
  readonly link: LinkName;
  /**
   * Only the n-th connection, from 1, of those that the first host of the link's name opens over it to QEMU's port; see
   * Link.split. Absent: all there are and will be, from either end.
   */
  readonly connection?: number;
}

/** "forward" is what flows from the first host of the link's name to the second; absent: both. */
export interface OneWay extends OnLink {
  readonly direction?: LinkDirection;
}

/** Where a fault of a link strikes, for people. */
export function onLink({ link, direction = "both", connection }: OneWay): string {
  const one = connection === undefined ? "" : `, connection ${connection}`;
  return `link ${link}${direction === "both" ? "" : `, ${direction}`}${one}`;
}

/** What of the link a fault strikes. */
export function partOf({ link, connection }: OnLink, fleet: StartedFleet): Breakable {
  const whole = fleet.link(link);
  return connection === undefined ? whole : whole.connection(connection);
}

/** One connection can only be hit where a link's connections were told apart from the beginning. */
export async function splitFor({ link, connection }: OnLink, { fleet }: FaultContext): Promise<void> {
  if (connection !== undefined) await fleet.splitLink(link);
}

/** Shapes what the fault is for; resolves to what undoes that. */
export async function shapeOn(spec: OneWay, fleet: StartedFleet, shape: LinkShape): Promise<Heal> {
  return partOf(spec, fleet).shape(shape, spec.direction);
}

/** @throws Error naming the host when the process is not running there. */
export async function pidOf({ host, process }: OnProcess, { fleet, pid }: FaultContext): Promise<number> {
  const found = process === "disks" ? await pidOfDisks(fleet.host(host)) : pid(host, process);
  if (found === undefined) throw new Error(`there is no ${process} on ${host} that could be hit`);
  return found;
}

/** By a word of its own on its command line: nobody but the agent knows what it has started. */
async function pidOfDisks(host: StartedHost): Promise<number | undefined> {
  const look = "grep -lszx '[d]isks' /proc/[0-9]*/cmdline | cut -d/ -f3 | head -1";
  const pid = Number.parseInt(await host.run(look), 10);
  return Number.isNaN(pid) ? undefined : pid;
}
