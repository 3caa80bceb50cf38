import { MANAGER_PATIENCE_MS_MAX, VCPUS_MAX } from "../base/configuration.ts";
import { CHATTER_MAX } from "../run/guests/work.ts";

/** What a number on the command line may be. Whoever is outside is told so before anything starts. */
export interface Limits {
  readonly least: number;
  readonly most: number;
}

/** Of `run`. The agents' own limits (harness/txsync/agent/config.ts) are not narrower: a test holds them to it. */
export const LIMITS = {
  /** Below this the integrity guest has no room; above it no machine that this has seen has. */
  memory_mib: { least: 32, most: 1024 * 1024 },
  /** How much a guest with so much memory can rewrite is looked at when that is known. */
  working_set_mib: { least: 1, most: 1024 * 1024 },
  chatter_lines_per_s: { least: 0, most: CHATTER_MAX },
  /** The guests take a seed of 32 bits. */
  seed: { least: 0, most: 2 ** 32 - 1 },
  repeat: { least: 1, most: 100_000 },
  jobs: { least: 1, most: 256 },
  vcpus: { least: 1, most: VCPUS_MAX },
  bandwidth_mib_per_s: { least: 1, most: 1024 * 1024 },
  lease_ms: { least: 50, most: 60_000 },
  epoch_ms: { least: 10, most: 5_000 },
  held_output_kib: { least: 4, most: 64 * 1024 },
  ahead_percent: { least: 0, most: 100 },
  /** Emulated KVM says nothing for 6 s while its firmware boots. */
  patience_s: { least: 10, most: 3_600 },
  manager_patience_s: { least: 1, most: MANAGER_PATIENCE_MS_MAX / 1_000 },
} as const satisfies Readonly<Record<string, Limits>>;
