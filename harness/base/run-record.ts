import type { Configuration, Manager } from "./configuration.ts";
import type { CheckVerdict, HostRole, JsonValue, Verdict } from "./timeline.ts";

/** Version of `run.json`. A reader accepts every version up to its own. */
export const RUN_RECORD_VERSION = 1;

export type Recovery = "stock" | "txsync";
/** What would have been as expected: "rollback or split-brain". */
export function expectedText({ expected, allowed = [] }: Pick<RunRecord, "expected" | "allowed">): string {
  return [expected, ...allowed].join(" or ");
}

/** Whose recovery it was, and what drove the migration where that is a choice: "stock libvirt", "txsync". */
export function underText({ recovery, manager }: { readonly recovery: Recovery; readonly manager?: Manager }): string {
  return manager === undefined ? recovery : `${recovery} ${manager}`;
}

export type Accel = "tcg" | "kvm";
/** `custom`: what the user says boots, of which nothing is known but what probes tell. */
export type GuestKind = "integrity" | "linux" | "custom";
/** Those of other people have names of their own. */
export type GuestName = GuestKind | (string & {});

/** A fault at a step, as a matrix names them; `order`: of the step among all steps. */
export interface MatrixPlace {
  readonly fault: string;
  readonly step: string;
  readonly order: number;
}

/** What a check found. `evidence` is for people and reports: the first wrong pages, the missing entries. */
export interface CheckResult {
  readonly check: string;
  readonly verdict: CheckVerdict;
  /** One sentence. */
  readonly summary: string;
  readonly evidence?: JsonValue;
}

/** What ought to come of a command that a monitor is asked. */
export const ANSWERS_EXPECTED = ["in-time", "never", "either"] as const;
export type AnswerExpected = (typeof ANSWERS_EXPECTED)[number];

/** What a fault asks a monitor ("stop on target"), and what ought to come of that. */
export interface Asked {
  readonly what: string;
  readonly answer: AnswerExpected;
}

/** What a fault's moment lies before, whenever it is heard of: the migration's end, or the transaction after this one. */
export type MomentBefore = "end" | number;

/** What a run may take at most; in milliseconds, or a count. `of` is one of LIMITED (harness/checks/limits.ts). */
export interface LimitSet {
  readonly of: string;
  readonly most: number;
}

/** Milliseconds unless the name says otherwise; absent where the run has no such thing. */
export interface RunTimings {
  readonly total_ms: number;
  readonly fleet_ms?: number;
  readonly boot_ms?: number;
  readonly migration_ms?: number;
  readonly check_ms?: number;
  readonly detect_ms?: number;
  readonly recover_ms?: number;
  /** The longest that the guest may have stood still; by QEMU's own stamps; and that nobody looked at it. */
  readonly downtime_ms?: number;
  readonly stopped_max_ms?: number;
  readonly unseen_max_ms?: number;
  /** How late the harness itself heard of a look, at worst. */
  readonly heard_late_max_ms?: number;
  /** From switchover until the source's host could have been lost. */
  readonly source_needed_ms?: number;
  readonly lost_steps?: number;
  readonly transactions?: number;
  readonly pause_p50_ms?: number;
  readonly pause_p90_ms?: number;
  readonly pause_p99_ms?: number;
  readonly pause_max_ms?: number;
  /** Parts of a pause, each the median of its own. */
  readonly stop_p50_ms?: number;
  readonly device_p50_ms?: number;
  readonly find_copy_p50_ms?: number;
  readonly cont_p50_ms?: number;
  /** How late the event loop of the worst agent was. */
  readonly control_late_p99_ms?: number;
  readonly control_late_max_ms?: number;
  /** Memory of the largest agent, MiB. */
  readonly agent_rss_max_mib?: number;
}

/** `run.json`: all parameters, versions and the verdict of one run. */
export interface RunRecord {
  readonly version: typeof RUN_RECORD_VERSION;
  readonly id: string;
  readonly started_at: string;
  readonly scenario: string;
  readonly title: string;
  readonly group: string;
  readonly recovery: Recovery;
  /** What drove the migration; absent: txsync's agents (and in records that are older than the choice: `qmp`). */
  readonly manager?: Manager;
  readonly accel: Accel;
  readonly accel_why: string;
  readonly guest: GuestName;
  /** Name of the QEMU asked for ("10.0", or an image) and the version that answered. */
  readonly qemu: string;
  readonly qemu_version: string;
  readonly seed: number;
  readonly memory_bytes: number;
  /** How QEMUs and their migration were set up, where anything was; what is absent was as it is by itself. */
  readonly configuration?: Configuration;
  /** The run gave up once nothing had moved for so long. */
  readonly patience_ms?: number;
  /** How often the migration was asked for: more than once where it was given up though nothing had been broken. */
  readonly tries?: number;
  /** How much the guest was asked to work by itself; absent: its own default. */
  readonly write_rate_pages_per_s?: number;
  readonly working_set_bytes?: number;
  /** The faults of the scenario as plain data, for people and for matrices. */
  readonly faults: readonly {
    readonly fault: string;
    readonly on: string;
    readonly at: string;
    readonly asks?: Asked;
    /** Absent: its moment may come at any time. */
    readonly before?: MomentBefore;
    /** The host whose VM is gone, or stands still, when it has struck. */
    readonly stops?: HostRole;
  }[];
  /** Those of the scenario that held under this recovery; absent: none. */
  readonly limits?: readonly LimitSet[];
  readonly expected: Verdict;
  /** Verdicts that are as expected besides. */
  readonly allowed?: readonly Verdict[];
  /** Where it stands in a matrix. */
  readonly cell?: MatrixPlace;
  /** Which job of a campaign (a matrix, an exploration) it was. */
  readonly job?: string;
  /** Why what came out is expected: with this version of QEMU, or besides. */
  readonly expected_why?: string;
  readonly verdict: Verdict;
  readonly as_expected: boolean;
  /** Why the verdict is what it is, one sentence. */
  readonly why: string;
  readonly checks: readonly CheckResult[];
  /** Of `evidence.json` beside it, by which it was judged. */
  readonly evidence_sha256?: string;
  readonly timings: RunTimings;
  /** Command that runs the same again. */
  readonly command: string;
  readonly versions: Readonly<Record<string, string>>;
  /** Set when the harness itself failed. */
  readonly error?: string;
}
