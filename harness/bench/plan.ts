import type { Recovery } from "../base/run-record.ts";
import type { RunRequest } from "../run/request.ts";
import type { TxsyncSettings } from "../run/txsync/settings.ts";

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
  /** How, where the scenario alone does not say it. */
  readonly variant?: Variant;
}

type SwitchoverBy = TxsyncSettings["switchover_by"];

/** How long a guest is looked at before it is protected, ms: what it does then is what it is compared with. */
const WATCH_MS = 4_000;
const every = (epoch_ms: number): Pick<RunRequest, "txsync" | "watch_ms"> => ({
  txsync: { epoch_ms },
  watch_ms: WATCH_MS,
});

/** What a part asks of its run over what the scenario says. */
export const VARIANTS = {
  /** Stock's own way of having most of memory there before it switches over. */
  "after-one-pass": { configuration: { switchover: "after-one-pass" } },
  "every-25-ms": every(25),
  "every-100-ms": every(100),
  "every-500-ms": every(500),
} as const satisfies Readonly<Record<string, Partial<RunRequest>>>;
export type Variant = keyof typeof VARIANTS;

/** Epochs at which a VM is protected where it runs. */
export const EPOCHS = ["every-25-ms", "every-100-ms", "every-500-ms"] as const satisfies readonly Variant[];
/** A VM that never migrates, and is protected for some seconds. */
export const PROTECTED = "protected-for-long";

/** Nothing breaks: what protection costs, against the migration that has none. */
export const NO_FAULT = "no-fault";

/** Something dies: what recovery takes. */
export const RECOVERIES = ["source-host-killed", "target-host-killed", "target-qemu-killed"] as const;

/** What a bench can measure. */
export const TOPICS = ["migration", "recovery", "protected"] as const;
export type Topic = (typeof TOPICS)[number];

/**
 * What is run for these topics. Stock is compared as it does what the agents do: where they copy memory ahead it makes one
 * pass of pre-copy before it switches over, else it switches over at once.
 */
export function partsOf(topics: readonly Topic[], by: SwitchoverBy): readonly Part[] {
  const stock: Part = { scenario: NO_FAULT, recovery: "stock" };
  const ahead = by === "agent" ? ({ variant: "after-one-pass" } as const) : {};
  const parts: Readonly<Record<Topic, readonly Part[]>> = {
    migration: [
      { ...stock, ...ahead },
      { scenario: NO_FAULT, recovery: "txsync" },
    ],
    recovery: RECOVERIES.map((scenario) => ({ scenario, recovery: "txsync" })),
    protected: EPOCHS.map((variant) => ({ scenario: PROTECTED, recovery: "txsync", variant })),
  };
  return TOPICS.flatMap((topic) => (topics.includes(topic) ? parts[topic] : []));
}

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
export function planOf(
  configurations: readonly Configuration[],
  repeat: number,
  seed: number,
  of: readonly Part[],
): readonly Planned[] {
  return Array.from({ length: repeat }, (_, index) => {
    const first = index % Math.max(1, configurations.length);
    const around = [...configurations.slice(first), ...configurations.slice(0, first)];
    const parts = index % 2 === 0 ? of : of.toReversed();
    const of_turn = { turn: index + 1, seed: (seed + index) % 2 ** 32 };
    return around.flatMap((configuration) => parts.map((part) => ({ ...part, ...configuration, ...of_turn })));
  }).flat();
}
