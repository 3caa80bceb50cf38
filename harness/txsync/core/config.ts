import type { Rules } from "./rules.ts";
import type { Role } from "./values.ts";

export interface Config {
  readonly role: Role;
  readonly lease_ms: number;
  readonly heartbeat_ms: number;
  readonly epoch_ms: number;
  /** `host`: hold the first output until the base would survive the source's host. */
  readonly durability: "host" | "process";
  /** Escrow: does a stored record survive the loss of the host's memory? */
  readonly logSync: "memory" | "disk";
  /** Whether protection ends when a migrated VM is whole on its new host, or a restored one runs. */
  readonly protect: "until-handoff" | "always";
  /** What an owner does that does not hear the escrow: goes on unprotected and says so, or holds its output back. */
  readonly unprotected: "go" | "hold";
  /**
   * What a transaction has beside memory is where another host finds it only a moment after it was committed: the VM leaves
   * when it is (`lastSettled`).
   */
  readonly settles?: boolean;
  /** Escrow: it comes in the place of another one, whose promises it does not know. */
  readonly joins?: boolean;
  readonly rules: Rules;
}

export const DEFAULT_TIMING = { lease_ms: 500, heartbeat_ms: 100, epoch_ms: 100 } as const;
