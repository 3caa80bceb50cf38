import type { HostRole } from "../base/timeline.ts";
import { type Bandwidth, bandwidth } from "./bandwidth.ts";
import { type ByteLimit, byteLimit } from "./byte-limit.ts";
import { type ClockStep, clockStep } from "./clock-step.ts";
import { type CpuPressure, cpuPressure } from "./cpu-pressure.ts";
import { type CutReset, cutReset } from "./cut-reset.ts";
import { type CutSilent, cutSilent } from "./cut-silent.ts";
import { type DenyWrites, denyWrites } from "./deny-writes.ts";
import { type DetachHost, detachHost } from "./detach-host.ts";
import type { Fault, FaultContext, Heal, OwnFault } from "./fault.ts";
import { type Fill, fill } from "./fill.ts";
import { type FreezeHost, freezeHost } from "./freeze-host.ts";
import { type FreezeProcess, freezeProcess } from "./freeze-process.ts";
import { type IoError, ioError } from "./io-error.ts";
import { type KillHost, killHost } from "./kill-host.ts";
import { type KillManager, killManager } from "./kill-manager.ts";
import { type KillProcess, killProcess } from "./kill-process.ts";
import { type KillStorage, killStorage } from "./kill-storage.ts";
import { type Latency, latency } from "./latency.ts";
import { type Qmp, qmp } from "./qmp.ts";
import { type ReplaceHost, replaceHost } from "./replace-host.ts";
import { type Slice, slice } from "./slice.ts";

export type { FaultContext, Heal, ManagerProcesses, OwnFault, ProcessName, StorageServer } from "./fault.ts";

/** Every fault there is, as a scenario writes it. */
export type FaultSpec =
  | Bandwidth
  | ByteLimit
  | ClockStep
  | CpuPressure
  | CutReset
  | CutSilent
  | DenyWrites
  | DetachHost
  | Fill
  | FreezeHost
  | FreezeProcess
  | IoError
  | KillHost
  | KillManager
  | KillProcess
  | KillStorage
  | Latency
  | Qmp
  | ReplaceHost
  | Slice;

/** The list that names them all: a new fault is a file beside these and a line here. */
export const FAULTS: { readonly [Name in FaultSpec["fault"]]: Fault<Extract<FaultSpec, { fault: Name }>> } = {
  bandwidth,
  "byte-limit": byteLimit,
  "clock-step": clockStep,
  "cpu-pressure": cpuPressure,
  "cut-reset": cutReset,
  "cut-silent": cutSilent,
  "deny-writes": denyWrites,
  "detach-host": detachHost,
  fill,
  "freeze-host": freezeHost,
  "freeze-process": freezeProcess,
  "io-error": ioError,
  "kill-host": killHost,
  "kill-manager": killManager,
  "kill-process": killProcess,
  "kill-storage": killStorage,
  latency,
  qmp,
  "replace-host": replaceHost,
  slice,
};

/** One of ours as data, or an object of somebody else's. */
export type AnyFault = FaultSpec | OwnFault;

/** Whether the host's agent has to be started with what makes its files fail and its clocks step. */
export function troublesAgent(fault: AnyFault): fault is IoError | ClockStep {
  return !isOwnFault(fault) && (fault.fault === "io-error" || fault.fault === "clock-step");
}

/** Whether a fault strikes an agent, or something that only agents have: stock QEMU has none. */
export function strikesAgent(fault: FaultSpec): boolean {
  switch (fault.fault) {
    case "io-error":
    case "clock-step":
    case "deny-writes":
    case "replace-host":
      return true;
    case "kill-process":
    case "freeze-process":
      return fault.process !== "qemu";
    default:
      return false;
  }
}

export function isOwnFault(fault: AnyFault): fault is OwnFault {
  return "inject" in fault;
}

export async function inject(fault: AnyFault, context: FaultContext): Promise<Heal | undefined> {
  if (!isOwnFault(fault)) return await faultOf(fault).inject(fault, context);
  const heal = await fault.inject(context);
  if (typeof heal === "function") return async () => void (await heal());
  return fault.heal === undefined ? undefined : () => fault.heal?.(context) ?? Promise.resolve();
}

/** Puts in place what a fault needs before the migration begins. */
export async function prepare(fault: AnyFault, context: FaultContext): Promise<void> {
  await (isOwnFault(fault) ? fault.prepare?.(context) : faultOf(fault).prepare?.(fault, context));
}

/** Where a fault strikes, for people. */
export function whereOf(fault: AnyFault): string {
  return isOwnFault(fault) ? fault.on : faultOf(fault).where(fault);
}

/** The host whose VM is gone, or stands still, when the fault has struck; undefined: that cannot be said of this one. */
export function stopsVmOf(fault: AnyFault): HostRole | undefined {
  if (isOwnFault(fault)) return undefined;
  switch (fault.fault) {
    case "kill-host":
    case "freeze-host":
      return fault.host;
    case "kill-process":
    case "freeze-process":
      return fault.process === "qemu" ? fault.host : undefined;
    default:
      return undefined;
  }
}

// FAULTS maps each name to the fault of that very spec, which TypeScript cannot follow through a union.
function faultOf(spec: FaultSpec): Fault<FaultSpec> {
  return FAULTS[spec.fault] as unknown as Fault<FaultSpec>;
}
