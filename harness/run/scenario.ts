import type { Configuration, Switchover } from "../base/configuration.ts";
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
  | { readonly on: "event"; readonly event: "restore.started" | "restore.finished" | "takeover" | "handoff" }
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
  /** When to switch over. What happens before it is not the same in each recovery: then each has its own. */
  readonly switchover: Switchover | Readonly<Record<Recovery, Switchover>>;
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
  /** How much the guest works by itself, where its own default is not what the scenario is for. */
  readonly work?: GuestWork;
  /** Settings of txsync that this scenario needs; the others are the defaults. */
  readonly txsync?: Partial<TxsyncSettings>;
  /** How its QEMUs and their migration are set up, where that is not as in any other scenario. */
  readonly configuration?: Configuration;
  /** Further checks that only this scenario asks for. */
  readonly also?: readonly "still-audit"[];
}

/** The migration of a scenario that asks for nothing special: pure post-copy that takes about two seconds for 128 MiB. */
export const PURE_POSTCOPY: MigrationPlan = { switchover: "at-once", bandwidth_bytes_per_s: 64 * 1024 * 1024 };
