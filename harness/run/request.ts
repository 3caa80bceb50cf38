import type Docker from "dockerode";
import type { Configuration } from "../base/configuration.ts";
import type { Accel, Recovery, RunRecord } from "../base/run-record.ts";
import type { HostRole, TimelineEvent } from "../base/timeline.ts";
import type { Check } from "../checks/check.ts";
import type { Guest } from "./guests/index.ts";
import type { GuestWork } from "./guests/work.ts";
import type { Scenario } from "./scenario.ts";
import type { Turns } from "./turn.ts";
import type { TxsyncSettings } from "./txsync/settings.ts";

/** A QEMU that hosts have. */
export interface QemuOfHosts {
  readonly host_image: string;
  /** As the user named it: "10.0", or an image. */
  readonly qemu: string;
  readonly qemu_version: string;
}

/** What every run of one command shares. */
export interface RunEnvironment extends QemuOfHosts {
  readonly docker: Docker;
  readonly toxiproxy_image: string;
  /** Of the host that exports disks, where some run has disks. */
  readonly storage_image?: string;
  /** The same where disks are images of the user's. */
  readonly images_image?: string;
  /** The QEMU of target and escrow, where it is not the source's. */
  readonly target?: QemuOfHosts;
  readonly qemu_binary: string;
  readonly versions: Readonly<Record<string, string>>;
  /** Folder in which each run makes its own. */
  readonly runs_folder: string;
  /** The command that runs the same again, in the grammar of whoever asks for runs. */
  readonly commandOf: (environment: RunEnvironment, request: RunRequest) => string;
  readonly signal: AbortSignal;
  /** Where runs are set up side by side, but carry their VMs one at a time. */
  readonly turns?: Turns;
}

/** The QEMU that a host of the run has. */
export function qemuOf(environment: RunEnvironment, role: HostRole): QemuOfHosts {
  return role === "source" ? environment : (environment.target ?? environment);
}

export interface RunRequest {
  readonly scenario: Scenario;
  /** How it is chosen on a command line, in a shell's words; default its id. */
  readonly named?: string;
  readonly recovery: Recovery;
  readonly guest: Guest;
  readonly accel: Accel;
  readonly accel_why: string;
  readonly seed: number;
  readonly memory_bytes: number;
  /** Over the scenario's own. */
  readonly work?: GuestWork;
  /** Over the scenario's own. */
  readonly configuration?: Configuration;
  /** Gives up once nothing has moved for so long; default DEFAULT_PATIENCE_MS. */
  readonly patience_ms?: number;
  /** So long the guest is looked at where it is before anything is asked of it, ms; default not at all. */
  readonly watch_ms?: number;
  /** Whether the escrow's transaction log is kept in the run's folder; default true. It is as large as what the guest changed. */
  readonly keep_log?: boolean;
  /** Leaves the fleet standing after the run. */
  readonly keep: boolean;
  /** Which job of a campaign it is: what has such a record is done (--resume), and one suite is made of many by it. */
  readonly job?: string;
  /** Over the scenario's own settings of txsync. */
  readonly txsync?: Partial<TxsyncSettings>;
  /** What the run is judged by; default: all checks that there are. */
  readonly checks?: readonly Check[];
  readonly onEvent?: (event: TimelineEvent) => void;
}

export interface FinishedRun {
  readonly record: RunRecord;
  readonly folder: string;
  /** What is not as it has to be though it says nothing of the VM, one sentence each. */
  readonly untidy: readonly string[];
}
