import type { ProtocolStep } from "../base/timeline.ts";
import type { QmpClient } from "./qmp.ts";

export type Side = "source" | "target";

/** QAPI `MigrationCapability`: those that Ferryman sets. */
export type MigrationCapability = "events" | "postcopy-ram" | "postcopy-preempt" | "return-path" | "release-ram";

/** QAPI `MigrationParameters`: those that Ferryman sets. Bandwidths in bytes a second, 0 = no limit; downtime in ms. */
export interface MigrationParameters {
  readonly "max-bandwidth"?: number;
  readonly "max-postcopy-bandwidth"?: number;
  readonly "downtime-limit"?: number;
}

/** QAPI `MigrationStats`. Sizes in bytes. */
export interface MigrationRamInfo {
  readonly transferred: number;
  readonly remaining: number;
  readonly total: number;
  /** Pages sent as one repeated byte. */
  readonly duplicate: number;
  /** Pages sent whole. */
  readonly normal: number;
  readonly "normal-bytes": number;
  /** Pages that the target asked for. */
  readonly "postcopy-requests": number;
  /** Pages a second. */
  readonly "dirty-pages-rate": number;
  readonly "dirty-sync-count": number;
  readonly "page-size": number;
  readonly mbps: number;
  readonly "precopy-bytes"?: number;
  readonly "downtime-bytes"?: number;
  readonly "postcopy-bytes"?: number;
}

/** QAPI `MigrationInfo`. QEMU leaves out what it does not know; before any migration it is an empty object. */
export interface MigrationInfo {
  readonly status?: string;
  readonly ram?: MigrationRamInfo;
  readonly "total-time"?: number;
  readonly "setup-time"?: number;
  readonly "expected-downtime"?: number;
  readonly downtime?: number;
  /** Time that vCPUs waited for pages, target only. */
  readonly "postcopy-blocktime"?: number;
  readonly "postcopy-vcpu-blocktime"?: readonly number[];
  readonly "error-desc"?: string;
  /** Where the target listens, when it does. */
  readonly "socket-address"?: readonly { readonly [key: string]: string | number | boolean }[];
  readonly "blocked-reasons"?: readonly string[];
}

/** QAPI `MigrationStatus` of 7.2 to 11.1, in the order of its definition (qapi/migration.json). */
export const MIGRATION_STATUSES = [
  "none",
  "setup",
  "cancelling",
  "cancelled",
  "active",
  "postcopy-device",
  "postcopy-active",
  "postcopy-paused",
  "postcopy-recover-setup",
  "postcopy-recover",
  "completed",
  "failing",
  "failed",
  "colo",
  "pre-switchover",
  "device",
  "wait-unplug",
] as const;

export type MigrationStatus = (typeof MIGRATION_STATUSES)[number];

/** Whether the word is a status that some QEMU of 7.2 to 11.1 reports. */
export function isMigrationStatus(status: string): status is MigrationStatus {
  return (MIGRATION_STATUSES as readonly string[]).includes(status);
}

/** What distinguishes versions for the mapping below; `traits()` of versions.ts has it. */
export interface StatusTraits {
  /** QEMU has the status `postcopy-device`, and the source stays in it until the target has loaded the package. */
  readonly hasPostcopyDeviceState: boolean;
}

/**
 * Which step of the protocol a reported status begins, `undefined` where it begins none. A pure function of what one
 * side reported and what it reported before.
 *
 * - 7.2 reports `setup` again on recovery, 11.1 `postcopy-recover-setup`: after `postcopy-paused` both are recovery.
 * - Before `postcopy-device` existed, `postcopy-active` came with the package (source: postcopy_start, target:
 *   postcopy_ram_listen_thread in migration/), so it means switchover; the target's RESUME event tells that it runs.
 *   Since then the target reports it when it runs, the source when it has heard so.
 * - `completing` has no status in post-copy: see `isCompleting`.
 */
export function stepOfStatus(
  side: Side,
  status: string,
  previous: string,
  traits: StatusTraits,
): ProtocolStep | undefined {
  if (!isMigrationStatus(status)) return undefined;
  switch (status) {
    case "setup":
    case "wait-unplug":
      return previous === "postcopy-paused" || previous.startsWith("postcopy-recover") ? "recovering" : "setup";
    case "active":
      return "precopy";
    case "pre-switchover":
    case "device":
    case "postcopy-device":
      return "switchover";
    case "postcopy-active":
      // After a recovery the target has been running all along.
      if (previous === "postcopy-recover") return "target-running";
      return traits.hasPostcopyDeviceState ? "target-running" : "switchover";
    case "postcopy-paused":
      return "postcopy-paused";
    case "postcopy-recover-setup":
    case "postcopy-recover":
      return "recovering";
    case "completed":
      return "completed";
    case "cancelling":
    case "cancelled":
    case "failing":
    case "failed":
      return "failed";
    case "none":
    case "colo":
      return undefined;
    default:
      return unreachable(status, side);
  }
}

function unreachable(status: never, side: Side): never {
  throw new Error(`a status without a step: ${String(status)} on the ${side}`);
}

/** Whether the source's `query-migrate` says that every page has been sent and only the end is missing. */
export function isCompleting(info: MigrationInfo): boolean {
  return info.status === "postcopy-active" && info.ram !== undefined && info.ram.remaining === 0;
}

/**
 * Switches post-copy and migration events on. Both sides need it, the target before `migrate-incoming`. The return
 * path comes with post-copy by itself.
 * @throws QmpCommandError where QEMU or the host's kernel cannot do it (userfaultfd is the usual reason on a target).
 */
export async function enablePostcopy(
  qmp: QmpClient,
  options: { readonly preempt?: boolean; readonly timeout_ms?: number } = {},
): Promise<void> {
  const names: MigrationCapability[] = ["events", "postcopy-ram"];
  if (options.preempt === true) names.push("postcopy-preempt");
  const capabilities = names.map((capability) => ({ capability, state: true }));
  await qmp.execute(
    "migrate-set-capabilities",
    { capabilities },
    options.timeout_ms === undefined ? {} : { timeout_ms: options.timeout_ms },
  );
}

/** Sets bandwidths (bytes a second) and the downtime limit (ms); on the source, also while a migration goes on. */
export async function setMigrationParameters(qmp: QmpClient, parameters: MigrationParameters): Promise<void> {
  await qmp.execute("migrate-set-parameters", parameters);
}

/**
 * QEMU's own idea of the migration.
 * @throws Error when the answer is not what QAPI promises.
 */
export async function queryMigrate(qmp: QmpClient, timeout_ms?: number): Promise<MigrationInfo> {
  const info = await qmp.execute("query-migrate", {}, timeout_ms === undefined ? {} : { timeout_ms });
  const { status, ram } = info;
  if (
    (status !== undefined && typeof status !== "string") ||
    (ram !== undefined && typeof ram.remaining !== "number")
  ) {
    throw new Error(`${qmp.name} answered query-migrate with ${JSON.stringify(info).slice(0, 200)}`);
  }
  return info;
}

/** Pages and bytes in the words of the timeline, `undefined` while QEMU has none to tell. */
export function progressOf(info: MigrationInfo):
  | {
      readonly transferred_bytes: number;
      readonly remaining_bytes: number;
      readonly total_bytes: number;
      readonly pages_sent: number;
      readonly pages_total: number;
      readonly pages_requested: number;
    }
  | undefined {
  const { ram } = info;
  if (ram === undefined || !(ram["page-size"] > 0)) return undefined;
  return {
    transferred_bytes: ram.transferred,
    remaining_bytes: ram.remaining,
    total_bytes: ram.total,
    pages_sent: ram.normal + ram.duplicate,
    pages_total: Math.ceil(ram.total / ram["page-size"]),
    pages_requested: ram["postcopy-requests"],
  };
}
