import type { Recovery } from "../base/run-record.ts";

/** What is measured at: how large the guest is, and how much it writes by itself. */
export interface Configuration {
  readonly memory_mib: number;
  readonly write_rate_pages_per_s: number;
}

/**
 * What VM is measured: the small one that is all memory, or one as people have it, with an operating system, two vCPUs, a
 * network card and two disks, to which it writes as fast as they take it.
 */
export const VM_KINDS = ["memory", "whole"] as const;
export type VmKind = (typeof VM_KINDS)[number];

/** What is run at each configuration. */
export interface Part {
  readonly scenario: string;
  readonly recovery: Recovery;
}

/** Nothing breaks: what protection costs, against the migration that has none. */
export const PROTECTION: { readonly stock: Part; readonly txsync: Part } = {
  stock: { scenario: "no-fault", recovery: "stock" },
  txsync: { scenario: "no-fault", recovery: "txsync" },
};

/** Something dies: what recovery takes. */
export const RECOVERIES = ["source-host-killed", "target-host-killed", "target-qemu-killed"] as const;

export const PARTS: readonly Part[] = [
  PROTECTION.stock,
  PROTECTION.txsync,
  ...RECOVERIES.map((scenario): Part => ({ scenario, recovery: "txsync" })),
];

/** One run of a bench. */
export interface Planned extends Part, Configuration {
  /** Counts from 1. What is compared with each other is of the same turn. */
  readonly turn: number;
  /** All runs of a turn have the same guest. */
  readonly seed: number;
}

/** Every size with every rate. */
export function configurationsOf(memories_mib: readonly number[], rates: readonly number[]): readonly Configuration[] {
  return memories_mib.flatMap((memory_mib) =>
    rates.map((write_rate_pages_per_s) => ({ memory_mib, write_rate_pages_per_s })),
  );
}

/**
 * Round robin: every turn runs every part at every configuration once, so that a machine that becomes slower while the
 * bench goes on is slower for all of them. Each turn begins with another configuration and goes round from there, and
 * every other one runs a configuration's parts the other way round: nobody is always the one after the largest.
 */
export function planOf(configurations: readonly Configuration[], repeat: number, seed: number): readonly Planned[] {
  return Array.from({ length: repeat }, (_, index) => {
    const first = index % Math.max(1, configurations.length);
    const around = [...configurations.slice(first), ...configurations.slice(0, first)];
    const parts = index % 2 === 0 ? PARTS : PARTS.toReversed();
    const of_turn = { turn: index + 1, seed: (seed + index) % 2 ** 32 };
    return around.flatMap((configuration) => parts.map((part) => ({ ...part, ...configuration, ...of_turn })));
  }).flat();
}
