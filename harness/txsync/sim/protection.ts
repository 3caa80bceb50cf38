import { type Descriptor, isFree, isOwner, isWhole } from "../core/index.ts";
import type { Cluster } from "./cluster.ts";
import { TIMING } from "./hosts.ts";
import { PAGES } from "./memory.ts";
import { isSabotaged } from "./model.ts";
import { Violation } from "./oracle.ts";

/** Votes, a lease of grace, a question that was lost and is asked again: that is what protection may cost beside its size. */
const VOTES_LEASES = 4;
/** A record that is half sent when the trouble ends comes again, and what it was taken for has changed meanwhile. */
const TIMES = 3;
/** Who began to take over while there was trouble is through by then, or has given up. */
const CALM_LEASES = 3;

/**
 * Liveness of protection: once nothing is in its way, a record of the present generation is committed within a bound, and
 * again whenever output waits. The bound is what votes cost and what the modified pages take from the VM to the disk.
 */
export class ProtectionWatch {
  readonly #cluster: Cluster;
  /** Since when nothing was in its way; `null` while something is. */
  #able_ms: number | null = null;
  #last = 0;
  #committed_ms = 0;

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  /** Protection is on, or nothing is to be protected, or something is in its way. */
  get satisfied(): boolean {
    return this.#able_ms === null || this.#isProtected();
  }

  /** The target's VM has run undisturbed for so long that nobody has a reason to take it over. */
  get calm(): boolean {
    if (this.#able_ms === null) return false;
    // What struck since the last look is not seen in it yet.
    const since_ms = Math.max(this.#able_ms, this.#cluster.faults.quiet_ms);
    return this.#cluster.now_ms - since_ms > CALM_LEASES * TIMING.lease_ms;
  }

  look(): void {
    const cluster = this.#cluster;
    const { now_ms } = cluster;
    const target = cluster.runner;
    if (!this.#able()) {
      this.#able_ms = null;
      return;
    }
    this.#able_ms ??= now_ms;
    const n = target.state.tx.committed ?? -1;
    if (n !== this.#last) this.#committed_ms = now_ms;
    this.#last = n;
    const { gate } = target.state;
    const waits = !isFree(target.state.opened) && gate.produced > gate.committed;
    if (this.#isProtected() && !waits) this.#committed_ms = now_ms;
    const waited_ms = now_ms - Math.max(this.#able_ms, this.#isProtected() ? this.#committed_ms : 0);
    const bound_ms = this.bound_ms();
    if (waited_ms <= bound_ms) return;
    const what = this.#isProtected() ? "nothing is committed" : "protection is not back";
    throw new Violation(
      4,
      `${what} ${Math.round(waited_ms)} ms after the last trouble; ${Math.round(bound_ms)} are enough`,
    );
  }

  bound_ms(): number {
    const { wire } = this.#cluster.schedule;
    return wire?.back_ms ?? VOTES_LEASES * TIMING.lease_ms + TIMES * this.everything_ms() + this.base_ms;
  }

  /** A new base, where one may be needed: begun when it is known that the old one is gone, and then copied. */
  get base_ms(): number {
    const { protect, pageRate } = this.#cluster.schedule;
    return protect === undefined ? 0 : 4 * TIMING.lease_ms + (PAGES / pageRate + 2) * 60;
  }

  /** Nothing broke, and the VM is as it is to stay: protected where it is. */
  get protectedForGood(): boolean {
    const { schedule, runner } = this.#cluster;
    if (schedule.protect === undefined) return false;
    return (
      this.#able_ms !== null &&
      this.#isProtected() &&
      (schedule.protect.when === "alone" || (runner.role === "target" && runner.state.phase === "completed"))
    );
  }

  /** What all pages that ever changed take: to be copied, to go over a link, to be read there, to be written. */
  everything_ms(): number {
    const { size, wire } = this.#cluster.schedule;
    const pages = this.#cluster.runner.vm?.table.since(0).length ?? 0;
    // Where others come over connections too it has every other turn.
    const read_ms = wire === undefined ? 0 : 2 / wire.read_bytes_per_ms;
    const each_ms = 1 / size.copy_bytes_per_ms + 1 / size.link_bytes_per_ms + read_ms + 1 / size.disk_bytes_per_ms;
    return (pages + size.writes) * size.page_bytes * each_ms;
  }

  #able(): boolean {
    const cluster = this.#cluster;
    const { faults, network, schedule } = cluster;
    const { source, escrow } = cluster.hosts;
    const target = cluster.runner;
    const other = target === source ? cluster.hosts.target : source;
    if (schedule.nervous || isSabotaged(cluster.model) || faults.anyUnderWay || faults.untrackable) return false;
    if (target.vm === null || !target.vm.running || target.state.vm !== "running") return false;
    if (schedule.protect === undefined ? target.state.allPages : !target.state.protect) return false;
    // Pages that nobody has: the guest waits, and there is nothing to lay a log over.
    if (schedule.protect !== undefined && !isWhole(target.state) && !cluster.vm.somebodyHasBase(target)) return false;
    if (!network.canTalk(target.role, "escrow") || !escrow.state.letIn) return false;
    let latest: Descriptor = escrow.state.promised;
    for (const { state } of [other, target]) {
      if (state.promised.generation > latest.generation) latest = state.promised;
      if (state.opened.generation > latest.generation) latest = state.opened;
    }
    if (schedule.protect === undefined) return latest.owner === "target" && latest.mode !== "final";
    return latest.owner === target.role;
  }

  #isProtected(): boolean {
    const { escrow } = this.#cluster.hosts;
    const target = this.#cluster.runner;
    const { opened } = target.state;
    const last = escrow.log[escrow.log.length - 1];
    if (this.#cluster.schedule.protect !== undefined && !this.#cluster.vm.somebodyHasBase(target)) return false;
    return isOwner(target.state) && opened.mode === "protected" && last?.header.generation === opened.generation;
  }
}
