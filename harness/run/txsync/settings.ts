import { UserError } from "../../base/errors.ts";
import type { FaultPlan } from "../scenario.ts";

/** What may be set of the recovery under test. Times in ms. */
export interface TxsyncSettings {
  readonly lease_ms: number;
  readonly heartbeat_ms: number;
  readonly epoch_ms: number;
  readonly durability: "host" | "process";
  readonly log_sync: "memory" | "disk";
  /** Who has the VM change hosts: its own QEMU, by a migration, or the agents, which copy its memory ahead to the target. */
  readonly switchover_by: "agent" | "qemu";
  /** By the agents: whether memory goes to the target before switchover; else all of it comes in post-copy. */
  readonly memory_ahead: boolean;
  /** Whether the VM is protected where it runs before it is asked to migrate, which it does by the agents then. */
  readonly protect_before: boolean;
  /** Whether protection goes on after the handoff, and begins anew after a restore. */
  readonly protect: "until-handoff" | "always";
  /** What becomes of output while the escrow is not heard. */
  readonly unprotected: "go" | "hold";
  /** So much of the VM's output waits for its commit, and the VM stands still. */
  readonly output_held_bytes: number;
  /** Share of the guest's memory that the escrow has before switchover, 0 to 1, and how long that may take. */
  readonly base_ahead: number;
  readonly base_ahead_ms: number;
  readonly find: "auto" | "sure";
}

export const DEFAULT_TXSYNC: TxsyncSettings = {
  lease_ms: 500,
  heartbeat_ms: 100,
  epoch_ms: 100,
  durability: "process",
  log_sync: "memory",
  switchover_by: "agent",
  memory_ahead: true,
  protect_before: false,
  protect: "until-handoff",
  unprotected: "go",
  output_held_bytes: 32 * 1024 ** 2,
  base_ahead: 0.75,
  base_ahead_ms: 10_000,
  find: "auto",
};

/** What strikes at these is over, or has to be, before there is a post-copy. */
const BEFORE_SWITCHOVER: readonly string[] = ["setup", "precopy"];

/**
 * Whether memory goes to the target before switchover. Post-copy is over in a moment then: a fault that is meant for it would
 * have nothing to strike. A VM that is protected before is another matter: what strikes at its switchover is what it is for.
 */
export function goesAhead(faults: readonly Pick<FaultPlan, "at">[], protect_before: boolean): boolean {
  if (protect_before) return !faults.some(({ at }) => at.on === "pages");
  return faults.every(({ at }) => at.on === "step" && BEFORE_SWITCHOVER.includes(at.step));
}

/** Copying ahead is given up where it is slower than this: it waits for a share of the memory, whatever its size. */
const AHEAD_BYTES_PER_S = 32 * 1024 ** 2;

/**
 * Settings of a run: what was asked for, over what the scenario needs, over the defaults for so much memory.
 * @throws UserError where they exclude each other
 */
export function settingsFor(
  memory_bytes: number,
  scenario: Partial<TxsyncSettings> = {},
  asked: Partial<TxsyncSettings> = {},
): TxsyncSettings {
  const protect_before = asked.protect_before ?? scenario.protect_before ?? false;
  const switchover_by = asked.switchover_by ?? scenario.switchover_by;
  if (protect_before && switchover_by === "qemu")
    throw new UserError(
      "A VM that is protected before it migrates changes hosts by the agents: leave --switchover-by away, or say agent.",
    );
  const by: Partial<TxsyncSettings> = protect_before ? { switchover_by: "agent" } : {};
  const ahead_ms = Math.ceil((memory_bytes / AHEAD_BYTES_PER_S) * 1000);
  const base_ahead_ms = Math.max(DEFAULT_TXSYNC.base_ahead_ms, ahead_ms);
  return { ...DEFAULT_TXSYNC, base_ahead_ms, ...by, ...scenario, ...asked };
}
