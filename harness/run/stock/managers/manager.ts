import type { Configuration } from "../../../base/configuration.ts";
import type { StartedVm } from "../../../fleet/vm.ts";
import type { SettledPlan } from "../../configure.ts";
import type { Timeline } from "../../timeline.ts";

/** What a manager has to work with. */
export interface ManagerContext {
  readonly source: StartedVm;
  readonly target: StartedVm;
  readonly plan: SettledPlan;
  readonly configuration: Configuration;
  readonly timeline: Timeline;
}

/** What is known of one side of the migration. */
export interface Side {
  readonly vm: StartedVm;
  readonly status: string;
}

/** What is known of a migration that has switched over. */
export interface Seen {
  readonly source: Side;
  readonly target: Side;
  readonly now_ms: number;
  /** When the source last had less left to send than before. */
  readonly left_at_ms: number;
  /** Everything is sent, the end of the stream is not. */
  readonly completing: boolean;
}

/** The target's VM of a migration that has begun; or why it has not, and the source's VM runs on. */
export type Begun = { readonly target: StartedVm } | { readonly refused: string };

/**
 * What drives a stock migration, one file for each beside this one. It is told what the harness's own monitors see; what it
 * believes by itself is its own matter. What becomes of a VM whose source or target is dead, it is not asked: nobody
 * who has QEMU alone could bring that back.
 */
export interface StockManager {
  /** Asks for the migration. */
  begin(): Promise<Begun>;
  /** Post-copy is to begin now, if it can. */
  switchOver(): Promise<void>;
  /** QEMU waits before it switches over (pause-before-switchover) until it is told to go on. */
  goOn?(): Promise<void>;
  /** Pre-copy that comes to no end is given up. */
  cancel(): Promise<void>;
  /**
   * Called again and again after switchover while both sides live: it does what it does about what is seen.
   * @returns why it gives the VM up, where it does
   */
  tend(seen: Seen): Promise<string | undefined>;
  /** The target has all of it: whoever manages it is waited for until it knows, for a bounded time. */
  finish?(): Promise<void>;
}

export function isPaused({ status }: Side): boolean {
  return status === "postcopy-paused";
}

export function isActive({ status }: Side): boolean {
  return status === "postcopy-active" || status === "postcopy-device";
}
