import type { Configuration, Switchover } from "../base/configuration.ts";
import type { MatrixPlace, Recovery } from "../base/run-record.ts";
import type { HostRole, Verdict } from "../base/timeline.ts";
import type { AnyFault } from "../faults/index.ts";
import type { HistoryClient } from "./custom/history-client.ts";
import type { AllowedToo, ExpectedOn, Limit, VersionRange } from "./expectation.ts";
import type { Guest } from "./guests/index.ts";
import type { GuestWork } from "./guests/work.ts";
import type { StepName } from "./steps.ts";
import type { TxsyncSettings } from "./txsync/settings.ts";

/** What fails: the folder that a scenario of ours stands in. Those of other people may have groups of their own. */
export type ScenarioGroup =
  | "source"
  | "target"
  | "escrow"
  | "network"
  | "double"
  | "controls"
  | "findings"
  | (string & {});

interface AtStep {
  readonly on: "step";
  readonly step: StepName;
  /** Only when the agent of this host tells of it; for steps that agents tell of. */
  readonly by?: HostRole;
  /** Only once the fault with this index has struck: for steps that come in every migration too, as votes do. */
  readonly since?: number;
}

/** When a fault strikes or is healed: at a step (steps.ts) or a count, and so long after it. Never by the clock alone. */
export type Trigger = (
  | AtStep
  /** When so many percent of the guest's pages have arrived on the target. */
  | { readonly on: "pages"; readonly percent: number }
  /** When the target has asked for so many pages. */
  | { readonly on: "requests"; readonly count: number }
  /** When so many bytes have been transferred, as whoever sends or receives counts them. */
  | { readonly on: "bytes"; readonly count: number }
  /** When the transaction of this number is committed; the first is 1. Under txsync only. */
  | { readonly on: "transactions"; readonly count: number }
  /**
   * Once the fault with this index in the scenario's list has been injected. Where it has been when something begins to
   * wait for it, as a healing does when its fault strikes, `after_ms` counts from then.
   */
  | { readonly on: "fault"; readonly index: number }
  /** Once that fault has been healed again. */
  | { readonly on: "healed"; readonly index: number }
) & { readonly after_ms?: number };

export interface FaultPlan {
  readonly fault: AnyFault;
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
  readonly guests: readonly Guest[];
  readonly migration: MigrationPlan;
  readonly faults: readonly FaultPlan[];
  /** What ought to come out; a recovery that is not named has nothing that could break like this (an agent, an escrow). */
  readonly expect: { readonly [R in Recovery]?: Verdict };
  /** Where that depends on QEMU's version; the first entry that is for the version counts. */
  readonly expect_on?: readonly ExpectedOn[];
  /** With which QEMUs of the source it can be played at all, where not with each; and why not with the others. */
  readonly only?: { readonly versions: readonly VersionRange[]; readonly why: string };
  /** What may come out as well, and why: where nobody can say before which of them it will be. */
  readonly allow?: readonly AllowedToo[];
  /** Where it stands in a matrix of faults and steps; `order`: of the step among all. */
  readonly cell?: MatrixPlace;
  /** What it may take at most: a run that takes longer is not as expected, whatever its verdict. */
  readonly limits?: readonly Limit[];
  /** For choosing (`run --tag`); the names of its faults are tags anyway. */
  readonly tags?: readonly string[];
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
  /** A client of the user's that is at work in a custom guest, by its network card, and has a history. */
  readonly client?: HistoryClient;
  /** How its QEMUs and their migration are set up, where that is not as in any other scenario. */
  readonly configuration?: Configuration;
}

/** The migration of a scenario that asks for nothing special: pure post-copy that takes about two seconds for 128 MiB. */
export const PURE_POSTCOPY: MigrationPlan = { switchover: "at-once", bandwidth_bytes_per_s: 64 * 1024 * 1024 };
