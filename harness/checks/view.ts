import type { Accel, GuestName } from "../base/run-record.ts";
import type { HostRole } from "../base/timeline.ts";
import type { StartedFleet } from "../fleet/fleet.ts";
import type { StartedVm } from "../fleet/vm.ts";
import type { AfterwardsFindings } from "./afterwards.ts";
import type { ClientFindings } from "./client-history.ts";
import type { DiskFindings } from "./disk-history.ts";
import type { GuestAbility } from "./evidence.ts";
import type { FirmwareFindings } from "./firmware.ts";
import type { GuestFindings } from "./guest-self-check.ts";
import type { ImageFindings } from "./images.ts";
import type { LedgerFindings } from "./ledger.ts";
import type { MemoryFindings } from "./memory-model.ts";
import type { MigrateAgainFindings } from "./migrate-again.ts";
import type { NetworkFindings } from "./network-history.ts";
import type { LeftoverFindings } from "./nothing-left.ts";
import type { OutputFindings } from "./output.ts";
import type { ProbeFindings } from "./probes.ts";
import type { StillFindings } from "./still-audit.ts";

/** What the guest says of its disks when it lets go of them. */
export interface DisksTold {
  readonly records: readonly number[];
  /** All that it has counted by then. */
  readonly errors: number;
}

/** What a check may ask a guest. It asks for what the guest can, never for what it is called. */
export interface GuestView {
  readonly kind: GuestName;
  readonly can: readonly GuestAbility[];
  /** The step counter of the instance on this host, whether it is running or not; undefined where none can be read. */
  steps(vm: StartedVm): Promise<number | undefined>;
  /** The harness's own look at the guest's memory; the VM is stopped while it looks. */
  memory(vm: StartedVm): Promise<MemoryFindings | undefined>;
  /** Stops its work on the disks, for good: how many records each has, and errors; undefined where it has no disks. */
  disks(vm: StartedVm): Promise<DisksTold | undefined>;
  selfCheck(vm: StartedVm): Promise<GuestFindings | undefined>;
  /** Waits until everything that tells that the guest is well has told so once more; absent: nobody said what that is. */
  probes?(vm: StartedVm): Promise<ProbeFindings>;
  /** What the ledger holds at the end; call it after `memory`, which finds it. */
  ledger(): Promise<LedgerFindings | undefined>;
}

/** What a run shows to whoever looks for evidence in it. */
export interface View {
  readonly guest: GuestView;
  readonly accel: Accel;
  readonly fleet: StartedFleet;
  /** The VM of each host that has one. */
  readonly vms: ReadonlyMap<HostRole, StartedVm>;
  /** The VM that is looked at: what a client would meet. Undefined where there is none. */
  readonly vm: StartedVm | undefined;
  /** The VM's disks as their host has them, once the guest has let go of them. */
  readonly storage?: (told: DisksTold) => Promise<DiskFindings>;
  /** Images of the user's, where they are stored; every VM is stopped for it, for good. Absent: there are none. */
  readonly images?: () => Promise<ImageFindings>;
  /** What a client of the user's makes of the VM; absent: there is none. */
  readonly client?: () => Promise<ClientFindings>;
  /** What has come out of the VM so far; absent where nobody stands at an edge. */
  readonly edge?: () => OutputFindings;
  /** What a client outside has seen of its network card; absent: it has none. */
  readonly network?: () => NetworkFindings | undefined;
  /** Does with the VM what the scenario asks for. */
  readonly afterwards: (vm: StartedVm) => Promise<AfterwardsFindings | undefined>;
  readonly migrateAgain: (vm: StartedVm) => Promise<MigrateAgainFindings>;
  /** The VM's firmware, as it was before it left and as it is; absent where nobody looked at it before. */
  readonly firmware?: (vm: StartedVm) => Promise<FirmwareFindings | undefined>;
  readonly compareStill: (vm: StartedVm) => Promise<StillFindings>;
  /** What is still there of the run when everything was taken down; undefined where it is meant to stay. */
  readonly leftovers: () => Promise<LeftoverFindings | undefined>;
}
