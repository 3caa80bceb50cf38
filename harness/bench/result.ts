import type { Accel, Recovery } from "../base/run-record.ts";
import type { Verdict } from "../base/timeline.ts";
import type { Machine } from "./machine.ts";
import type { Measured, Measures } from "./measure.ts";
import type { Configuration, Planned } from "./plan.ts";
import type { Spread } from "./spread.ts";

/** Version of `bench.json`. */
export const BENCH_VERSION = 1;

/** One run of a bench, with all that was measured in it. */
export interface Sample extends Planned, Measured {
  readonly verdict: Verdict;
  /** One that did not come out as expected is kept, and no figure is made of it. */
  readonly as_expected: boolean;
  readonly why: string;
  /** The run's folder, relative to the bench's. */
  readonly run: string;
  readonly took_ms: number;
  /** Load average over a minute when it began: the bench's own runs are in it. */
  readonly load_before: number;
}

export type Spreads = { readonly [M in keyof Measures]: Spread };

/** Figures of some runs that are the same but for their turn. */
export interface Group {
  readonly recovery: Recovery;
  readonly runs: number;
  readonly as_expected: number;
  readonly spreads: Spreads;
}

/** How txsync compares with stock in the same turn; 1 is the same. */
export interface Ratios {
  readonly total?: Spread;
  readonly wire_bytes?: Spread;
  readonly switchover_ms?: Spread;
  readonly postcopy_ms?: Spread;
  readonly steps_per_s?: Spread;
  readonly disk_records_per_s?: Spread;
  readonly net_p50_ms?: Spread;
  readonly net_p99_ms?: Spread;
}

/** Percentiles of all pauses of all runs together, and how many there were. */
export interface Pooled {
  readonly pauses: number;
  readonly p50_ms: number;
  readonly p99_ms: number;
  readonly max_ms: number;
}

/** All figures at one configuration. */
export interface ConfigurationFigures extends Configuration {
  readonly stock: Group;
  readonly txsync: Group;
  readonly ratios: Ratios;
  readonly pooled?: Pooled;
  /** By scenario. */
  readonly recovery: Readonly<Record<string, Group>>;
  /** Of a VM that is protected where it runs, by epoch (`EPOCHS`). */
  readonly protected: Readonly<Record<string, Group>>;
}

/** `bench.json`. Times in ms, sizes in bytes, unless a name says otherwise. */
export interface BenchResult {
  readonly version: typeof BENCH_VERSION;
  readonly started_at: string;
  readonly finished_at: string;
  readonly command: string;
  /** Too few runs for figures: it shows that the bench works, and what it looks like. */
  readonly quick: boolean;
  /** How many runs there were to be; fewer samples: it was interrupted. */
  readonly planned: number;
  readonly repeat: number;
  readonly seed: number;
  readonly qemu: string;
  readonly qemu_version: string;
  readonly accel: Accel;
  readonly accel_why: string;
  readonly guest: "integrity" | "linux";
  /** What its VM has beside memory and one vCPU, for people; empty: nothing. */
  readonly vm: readonly string[];
  /** Who has the VM change hosts under txsync; stock switches over after one pass beside agents, else at once. */
  readonly switchover_by: "agent" | "qemu";
  /** Background transfer is bound to so much, stock and txsync alike. */
  readonly cap_bytes_per_s: number;
  readonly versions: Readonly<Record<string, string>>;
  readonly machine: Machine;
  /** What a reader has to know before believing a figure, one sentence each. */
  readonly notes: readonly string[];
  readonly figures: readonly ConfigurationFigures[];
  readonly samples: readonly Sample[];
}
