import type { GuestKind, Recovery } from "../base/run-record.ts";
import type { ProtocolStep, Verdict } from "../base/timeline.ts";
import type { FaultSpec } from "../faults/index.ts";
import type { GuestWork } from "./guests/work.ts";
import type { TxsyncSettings } from "./txsync/settings.ts";

/** What fails: the folder that a scenario stands in. */
export type ScenarioGroup = "source" | "target" | "escrow" | "network" | "double" | "controls";

/** When a fault strikes or is healed: at a protocol step or a count, and so long after it. Never by the clock alone. */
export type Trigger = (
  | { readonly on: "step"; readonly step: ProtocolStep }
  /** When so many percent of the guest's pages have arrived on the target. */
  | { readonly on: "pages"; readonly percent: number }
  /** When the target has asked for so many pages. */
  | { readonly on: "requests"; readonly count: number }
  /** When an agent tells of it; only under txsync. */
  | {
      readonly on: "event";
      readonly event: "restore.started" | "restore.finished" | "takeover" | "handoff" | "protection-on";
    }
  /** Once the fault with this index in the scenario's list has been injected. */
  | { readonly on: "fault"; readonly index: number }
  /** Once that fault has been healed again. */
  | { readonly on: "healed"; readonly index: number }
) & { readonly after_ms?: number };

export interface FaultPlan {
  readonly fault: FaultSpec;
  readonly at: Trigger;
  /** Absent: never healed. */
  readonly heal?: Trigger;
}

export interface MigrationPlan {
  /** When to switch over: with the first page (pure post-copy), or after one pass over all memory. */
  readonly switchover: "at-once" | "after-one-pass";
  /** Bound for what is pushed in the background, bytes per second. */
  readonly bandwidth_bytes_per_s: number;
  /** The target is held still (`-S`): its memory can be compared with the source's page by page. */
  readonly hold_target?: boolean;
}

/** What to break and what to expect: plain data. */
export interface Scenario {
  readonly id: string;
  readonly group: ScenarioGroup;
  /** One sentence that says what happens. */
  readonly title: string;
  /** Guests it is meant for; the first is the default. */
  readonly guests: readonly GuestKind[];
  readonly migration: MigrationPlan;
  readonly faults: readonly FaultPlan[];
  /** What ought to come out; a recovery that is not named has nothing that could break like this (an agent, an escrow). */
  readonly expect: { readonly [R in Recovery]?: Verdict };
  /** What is done with the VM when it has arrived, before it is judged. Under txsync only. */
  readonly afterwards?: "reboot" | "migrate-protected";
  /**
   * `alone`: the VM is protected where it runs, and does not migrate; the source's agent is asked for that instead. Under
   * txsync only.
   */
  readonly protect?: "alone";
  /** How much the guest works by itself, where its own default is not what the scenario is for. */
  readonly work?: GuestWork;
  /** Settings of txsync that this scenario needs; the others are the defaults. */
  readonly txsync?: Partial<TxsyncSettings>;
  /** Further checks that only this scenario asks for. */
  readonly also?: readonly "still-audit"[];
}

/** The migration of a scenario that asks for nothing special: pure post-copy that takes about two seconds for 128 MiB. */
export const PURE_POSTCOPY: MigrationPlan = { switchover: "at-once", bandwidth_bytes_per_s: 64 * 1024 * 1024 };
