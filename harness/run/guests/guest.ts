import type { Duplex } from "node:stream";
import type { HostRole } from "../../base/timeline.ts";
import type { GuestView } from "../../checks/view.ts";
import type { StartedVm } from "../../fleet/vm.ts";

/** What QEMU is given to boot. */
export interface GuestFiles {
  readonly kernel: string;
  readonly initrd?: string;
  readonly append: string;
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

/** A guest as a run deals with it: how it boots, how one sees that it goes on, and what it knows of itself. */
export interface GuestUnderTest extends GuestView {
  readonly files: GuestFiles;
  /** An instance that shows no progress for so long stands still. Every run takes this time, so it is not generous. */
  readonly still_after_ms: number;
  onConsole(host: HostRole, line: string): void;
  /** Resolves when the guest works, and rejects when it does not within its time. */
  booted(vm: StartedVm): Promise<void>;
  workload(): Workload;
  /** Resets the machine, and waits until the guest works again. */
  reboot(vm: StartedVm): Promise<void>;
}
