import type { HostRole } from "../base/timeline.ts";
import type { AfterwardsFindings } from "../checks/afterwards.ts";
import type { Evidence } from "../checks/evidence.ts";
import type { MigrateAgainFindings } from "../checks/migrate-again.ts";
import type { OutputFindings } from "../checks/output.ts";
import type { FaultContext } from "../faults/index.ts";
import type { StartedFleet } from "../fleet/fleet.ts";
import type { StartedVm } from "../fleet/vm.ts";
import type { ImageDisks } from "./custom/image-disks.ts";
import type { StoredDisks } from "./disks.ts";
import type { GuestUnderTest, Workload } from "./guests/guest.ts";
import type { HostLogs } from "./host-logs.ts";
import type { Looking } from "./looking.ts";
import type { Cable } from "./net/network.ts";
import type { RunEnvironment, RunRequest } from "./request.ts";
import type { Settled } from "./settled.ts";
import type { Timeline } from "./timeline.ts";

/** What a run lends to the recovery that it puts to the test. */
export interface RunContext {
  readonly environment: RunEnvironment;
  readonly request: RunRequest;
  /** The run's own folder. */
  readonly folder: string;
  readonly fleet: StartedFleet;
  /** The VM's disks, where it has any. */
  readonly disks?: StoredDisks;
  /** Those of a custom guest. */
  readonly images?: ImageDisks;
  readonly guest: GuestUnderTest;
  readonly timeline: Timeline;
  readonly looking: Looking;
  readonly logs: HostLogs;
  /** The VM of each host that has one, kept up to date by whoever starts them. */
  readonly vms: Map<HostRole, StartedVm>;
}

/** What is known of the scenario's faults while they go on. */
export interface FaultsSeen {
  /** Whether every fault has struck, and is healed where it is to be, or never will be. */
  readonly done: boolean;
  /** Whether any fault has struck by now. */
  readonly struck: boolean;
  /** Whether one is to strike whose moment has come: only its offset is waited for. */
  readonly due: boolean;
  /** Whether something that was broken is still to be healed. */
  readonly healing: boolean;
}

/**
 * A way to carry a VM over and to bring it back when something breaks. A run asks for the steps in the order in which
 * they stand here, each once; between them it watches and breaks things, and tells the recovery nothing.
 */
export interface RecoveryUnderTest extends AsyncDisposable {
  /** Starts the VM on the source, where the guest is about to boot, and whatever waits for it on the target. */
  start(): Promise<StartedVm>;
  /**
   * Shows clients where the VM is, now and as it moves.
   * @returns called once the owner is known
   */
  lead(clients: Workload): (owner: HostRole | "none") => void;
  /** The end of the VM's network cable, wherever it is; asked for once, where the VM has a card. */
  cable(): Cable;
  /** Pid inside the host of what a fault may strike, while it lives. */
  readonly pid: FaultContext["pid"];
  /** What manages QEMU on a host, for a fault to strike; absent: it is no program of its own. */
  readonly manager?: FaultContext["manager"];
  /** Has another escrow in the place of the one that there is; absent: there is none. */
  readonly replaceEscrow?: FaultContext["replaceEscrow"];
  /** Pid of the daemon on a host whose use of the host is counted, where there is one. */
  daemon(role: HostRole): number | undefined;
  /** Asks for the migration and waits until it is known who has the VM. */
  migrate(faults: FaultsSeen): Promise<Settled>;
  /**
   * A VM that is protected for good is not any more: who looks at it stops it, and nobody else may by then. One that somebody
   * else has succeeded is nobody's to end: a host that is cut off still says that it protects it.
   * @param owner who has the VM, as far as it is known
   * @returns where somebody else still may, why: then its memory is not to be looked at
   */
  unprotect?(owner: HostRole | "none"): Promise<string | undefined>;
  /** The VM is protected after the handoff too, and anew wherever it was restored; absent: no. */
  readonly goes_on_protected?: boolean;
  /** Of two instances that move: what is seen from outside of who has succeeded whom. */
  succeeded(owner: HostRole | "none"): Promise<Pick<Evidence, "succeeded">>;
  /** Waits for output that is under way: what has not come by then is missing. */
  count(owner: HostRole | "none"): Promise<void>;
  /** What came out up to now; absent: its output goes straight to the world, and nobody stands at an edge. */
  readonly edge?: () => OutputFindings;
  /** Does with the VM that has arrived what the scenario asks for; absent: there is nothing that this could do. */
  readonly afterwards?: (owner: StartedVm) => Promise<AfterwardsFindings | undefined>;
  /** Carries the VM that arrived over to another host; absent: plain QEMUs do that. */
  readonly migrateAgain?: (owner: StartedVm) => Promise<MigrateAgainFindings>;
  /** Lets go of everything: what is left is plain QEMU. */
  release(): Promise<void>;
}
