import { createHash } from "node:crypto";
import type { Manager } from "../base/configuration.ts";
import type { Accel, GuestKind, Recovery } from "../base/run-record.ts";
import type { Scenario } from "../run/scenario.ts";
import { settingsFor, type TxsyncSettings } from "../run/txsync/settings.ts";
import { allowedOf, type ModelWorld } from "./model.ts";

/** QEMU of source and target, as people name them. */
export interface QemuPair {
  readonly source: string;
  readonly target: string;
}

/** What a job is run with, besides its scenario. */
export interface Setting {
  readonly recovery: Recovery;
  /** What drives the migration under stock; absent: `qmp`, and under txsync, where agents do. */
  readonly manager?: Manager;
  readonly manager_patience_ms?: number;
  readonly guest: GuestKind;
  readonly accel: Accel;
  readonly qemus: QemuPair;
  readonly memory_mib: number;
  readonly txsync: Partial<TxsyncSettings>;
}

/** A run of a campaign that is to be made. */
export interface Job extends Setting {
  /** What it is told from all others by, on whatever machine it runs: --resume and shards go by it. */
  readonly key: string;
  readonly scenario: Scenario;
  readonly seed: number;
}

export function settingText({ recovery, manager, guest, accel, qemus, memory_mib }: Setting): string {
  const by = manager === undefined ? "" : ` ${manager}`;
  return `${recovery}${by} ${guest} ${accel} ${pairText(qemus)} ${memory_mib}`;
}

export function pairText({ source, target }: QemuPair): string {
  return source === target ? source : `${source}:${target}`;
}

/** @param turn which repetition, from 1 */
export function jobOf(scenario: Scenario, setting: Setting, campaign_seed: number, turn = 1): Job {
  const key = `${scenario.id} ${settingText(setting)}${turn === 1 ? "" : ` #${turn}`}`;
  return { ...setting, key, scenario, seed: seedOf(campaign_seed, key) };
}

/** 32 bits that hang on nothing but these two. */
export function seedOf(campaign_seed: number, key: string): number {
  return createHash("sha256").update(`${campaign_seed}\n${key}`).digest().readUInt32BE();
}

/** What the model has to know of a setting. */
export function worldOf({ recovery, manager, accel, qemus, memory_mib, txsync }: Setting): ModelWorld {
  const settings = settingsFor(memory_mib * 1024 ** 2, {}, txsync);
  const { lease_ms, base_ahead, switchover_by, protect_before, protect, unprotected } = settings;
  const version = (name: string): number | undefined => (/^\d+\.\d+$/.test(name) ? Number(name) : undefined);
  return {
    recovery,
    ...(manager === undefined ? {} : { manager }),
    accel,
    qemus: [version(qemus.source), version(qemus.target)],
    lease_ms,
    base_ahead,
    switchover_by,
    protect_before,
    protect,
    unprotected,
  };
}

/** The same job with another scenario or setting: what ought to come of it is what the model says of that. */
export function expectingByModel(job: Job): Job {
  const { verdicts, why } = allowedOf(job.scenario.faults, worldOf(job));
  const [best = "intact", ...others] = verdicts;
  const { allow: _, ...scenario } = job.scenario;
  const allow = others.map((verdict) => ({ under: job.recovery, verdict, why }));
  return {
    ...job,
    scenario: { ...scenario, expect: { [job.recovery]: best }, ...(allow.length === 0 ? {} : { allow }) },
  };
}
