import type { Duplex } from "node:stream";
import type { HostRole } from "../../base/timeline.ts";
import type { GuestView } from "../../checks/view.ts";
import type { StartedFleet } from "../../fleet/fleet.ts";
import type { StartedVm } from "../../fleet/vm.ts";
import type { ClientRunner } from "../custom/client-runner.ts";
import type { Reach } from "../net/reach.ts";
import type { GuestSettings } from "./integrity.ts";

/** What QEMU is given to boot; without a kernel its firmware looks for it on the disks. */
export interface GuestFiles {
  readonly kernel?: string;
  readonly initrd?: string;
  readonly append?: string;
}

/** Where a client finds the VM. */
export interface Reached {
  readonly host: { readonly role: HostRole };
  readonly alive: boolean;
  readonly com2: () => Promise<Duplex>;
}

/** Work that goes on in the guest during the run, on behalf of somebody outside. */
export interface Workload {
  /** From now on the VM is reached there; "none" while nobody knows. */
  moveTo(vm: Reached | undefined): void;
  /** Waits until the guest has done enough to be worth migrating. */
  warmedUp(): Promise<void>;
  /** No more new work; what is under way ends, or is given up as unknown. */
  stop(): Promise<void>;
}

/** Where in its memory a guest says how far it is, for whoever looks often and asks nobody. */
export interface GuestClock {
  readonly offset_bytes: number;
  /** 2048 at most. */
  readonly bytes: number;
  /** Undefined where they say nothing, or not yet. `ran_ms`: by the guest's own clock, which stands while it does. */
  read(bytes: Buffer): { readonly step: number; readonly ran_ms: number } | undefined;
}

/** A guest as a run deals with it: how it boots, how one sees that it goes on, and what it knows of itself. */
export interface GuestUnderTest extends GuestView {
  readonly files: GuestFiles;
  /** A file on the source with the state of the VM as it had booted. */
  readonly state?: string | undefined;
  /** An instance that shows no progress for so long stands still. Every run takes this time, so it is not generous. */
  readonly still_after_ms: number;
  /** Absent: `steps` is asked instead. */
  readonly clock?: GuestClock;
  onConsole(host: HostRole, line: string): void;
  /** Resolves when the guest works, and rejects when it does not within its time. */
  booted(vm: StartedVm): Promise<void>;
  /** Told once, when the run's network is there: how it is reached by its card; undefined: it has none. */
  onNetwork?(reach: Reach | undefined): void;
  /** A client of the user's that is at work in it. */
  readonly client?: ClientRunner | undefined;
  /** The run is over: nobody asks it anything any more. */
  end?(): void;
  workload(): Workload;
  /** Resets the machine, and waits until the guest works again. */
  reboot(vm: StartedVm): Promise<void>;
  /** Puts what it boots from onto the hosts, where it is not there already. */
  put?(fleet: StartedFleet): Promise<void>;
}

/** A file on this machine, which is put onto each host; as a string it is a path in the host's image. */
export interface LocalFile {
  readonly local: string;
}

export interface OwnGuestFiles {
  readonly kernel: string | LocalFile;
  readonly initrd?: string | LocalFile;
  /** The kernel's command line. */
  readonly append: string;
}

/**
 * What a guest of somebody else's does in one run. What it brings of `memory`, `selfCheck` and `ledger` it can be asked
 * for, and the checks that ask for it apply.
 */
export interface OwnGuestInRun
  extends Pick<GuestUnderTest, "booted" | "steps">,
    Partial<
      Pick<GuestUnderTest, "memory" | "selfCheck" | "ledger" | "workload" | "reboot" | "onConsole" | "still_after_ms">
    > {
  readonly files: OwnGuestFiles;
}

/** A guest of somebody else's. */
export interface OwnGuest {
  /** What it is called in records and reports; none of ours. */
  readonly kind: string;
  /** Called once for each run of it. */
  start(settings: GuestSettings): OwnGuestInRun;
}
