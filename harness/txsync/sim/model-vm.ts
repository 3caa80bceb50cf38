import { type Action, frameNumber, isFree, type Role } from "../core/index.ts";
import type { Cluster } from "./cluster.ts";
import { type Host, snapshotOf, type Vm, vmOf } from "./hosts.ts";
import { type Memory, PAGES, PageTable, sameMemory } from "./memory.ts";
import { type Snapshot, Violation } from "./oracle.ts";
import { Random } from "./random.ts";
import { foldOf, keyOf } from "./storage.ts";

/** Of migrations that QEMU gives up before its package. */
const GIVEN_UP = 0.02;
/** An offer that was long on its way. */
const LATE_OFFER_MS = 2_500;
/** How fast pages are copied aside while the VM stands still. */
const ASIDE_BYTES_PER_MS = 2_000_000;
/** Of a record, beside its pages. */
const DEVICE_STATE_BYTES = 100;

/** The base that a protected VM left with, and the transaction that it is. */
interface Follows {
  readonly id: number;
  readonly n: number;
  readonly generation: number;
}

type TakeTransaction = Extract<Action, { kind: "takeTransaction" }>;

/** The one VM, wherever it is: it works, its pages arrive, it is captured, taken, restored, and what it says is let out. */
export class ModelVm {
  readonly #cluster: Cluster;
  /** Drawn from by itself, so that no other schedule becomes another. */
  readonly #givingUp: Random;
  #writes = 0;
  /** All memory as it stood at switchover. */
  base: Memory | null = null;
  /** Pages that the target has, and that the escrow's copy of the base lacks. */
  pagesTarget = 0;
  pagesEscrow = PAGES;
  covered = false;
  /** Frames that any VM of this world ever emitted. */
  framesEver = 0;
  /** Number (over all VMs of the world) of the latest emitted frame that has arrived at the edge. */
  edgeFresh = 0;

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
    this.#givingUp = new Random(cluster.schedule.seed ^ 0x27d4eb2f);
  }

  /** The base that records are relative to, of all that there were; 0: the one of the switchover. */
  baseId = 0;
  /** Of a VM that runs on, and what the escrow still lacks of it; once it was offered it is copied while the VM works. */
  #begun: { readonly host: Host; readonly vm: Vm; readonly id: number; adopted: boolean } | null = null;
  #bases = 0;

  /** The base that the target's records are to be relative to, of a VM that was protected before it migrated. */
  #follows: Follows | null = null;

  /** What records are relative to is the VM's memory as it stood at switchover: the source has it too. */
  get ofSwitchover(): boolean {
    return this.baseId === (this.#follows?.id ?? 0);
  }

  /** What the escrow has is what the VM came with, where it came at all. */
  get #followed(): boolean {
    return this.#follows === null || this.baseId === this.#follows.id;
  }

  /** It is, or is made of what the escrow has. */
  get willFollow(): boolean {
    const { log } = this.#cluster.hosts.escrow;
    const last = log[log.length - 1]?.header;
    if (this.#follows === null || this.#followed) return true;
    return this.pagesEscrow === 0 && last?.n === this.#follows.n && last.generation === this.#follows.generation;
  }

  begin(): void {
    this.#work();
    this.#movePages();
  }

  // ---- a base of a VM that runs

  /** What changes is noted from now on. */
  beginBase(host: Host): void {
    const { vm } = host;
    if (vm === null) return;
    vm.table = new PageTable();
    if (host.role === "source") host.hasBase = false;
    this.#bases += 1;
    vm.relativeTo = this.#bases;
    this.#begun = { host, vm, id: this.#bases, adopted: false };
  }

  endBase(host: Host): void {
    if (this.#begun?.host === host) this.#begun = null;
  }

  /** Somebody's base is let go of for that one. */
  adoptBase(escrow: Host, from: Role): void {
    const begun = this.#begun;
    // One that lost its memory has nothing that could be thrown away.
    const there = this.pagesEscrow === 0;
    if (
      there &&
      logRestores(escrow) &&
      this.willFollow &&
      this.#cluster.saysProtected !== null &&
      !isFree(escrow.state.promised) &&
      !isFree(escrow.state.opened)
    ) {
      throw new Violation(2, `the escrow throws away what the protection on ${this.#cluster.saysProtected} rests on`);
    }
    escrow.log = [];
    escrow.finished = false;
    const of = begun?.host.role === from ? begun : null;
    if (of?.adopted === true && of.id === this.baseId) {
      // It is here already, or on its way: only the log begins anew.
      escrow.fold = there && this.base !== null ? this.base.slice() : null;
      if (there) this.#cluster.later(escrow, 0, { kind: "baseComplete", complete: true });
      return;
    }
    this.base = new Int32Array(PAGES);
    this.pagesEscrow = PAGES;
    this.baseId = of?.id ?? -1;
    if (of !== null) of.adopted = true;
    escrow.fold = null;
  }

  /** The escrow's host has lost its memory: what it had of a base is to be offered once more. */
  forgetCopy(): void {
    this.pagesEscrow = PAGES;
    this.#cluster.bulk?.forgetCopy();
    if (this.#begun !== null) this.#begun.adopted = false;
  }

  /** The escrow, or the host that the VM left, has all of what records are relative to. */
  somebodyHasBase(owner: Host): boolean {
    const { source, target } = this.#cluster.hosts;
    if (owner === target && this.drains && !this.willFollow) return source.up && source.hasBase;
    return this.pagesEscrow === 0 || (owner !== source && this.hasBase(source));
  }

  hasBase(host: Host): boolean {
    return host.up && host.role === "source" && host.hasBase && host.baseId === this.baseId;
  }

  #moveBase(): void {
    const cluster = this.#cluster;
    const { network, schedule, hosts } = cluster;
    const { escrow, source } = hosts;
    if (schedule.protect === undefined) return;
    // It left with another one than the escrow has as yet.
    const follows = this.#follows !== null && this.baseId < this.#follows.id;
    if (
      !follows &&
      source.hasBase &&
      source.baseId !== this.baseId &&
      network.canTalk("source", "escrow") &&
      source.vm === null
    ) {
      source.hasBase = false;
      cluster.event("source", { kind: "baseVoid" });
    }
    const begun = this.#begun;
    if (begun === null) return;
    const { host, vm, id } = begun;
    if (host.vm !== vm) this.#begun = null;
    if (host.vm !== vm || !network.canTalk(host.role, "escrow") || escrow.frozenUntil_ms > cluster.now_ms) return;
    if (host.frozenUntil_ms > cluster.now_ms || host.state.base === "none") return;
    // An agent that came up again hears that the escrow still has it.
    const there = this.baseId === id && this.pagesEscrow === 0;
    if (there && !host.state.baseCovered) cluster.event(host.role, { kind: "baseCovered", covered: true });
    if (host.state.base !== "copying") return;
    if (!begun.adopted || this.baseId !== id) {
      begun.adopted = false;
      cluster.event("escrow", { kind: "baseOffered", from: host.role });
      // Said again and again until it is heard, and once more when nobody thinks of it.
      cluster.at(LATE_OFFER_MS, () => cluster.event("escrow", { kind: "baseOffered", from: host.role }));
    }
    // One that has no processor hears of it later.
    if (!isAdopted(begun) || this.baseId !== id || this.base === null) return;
    for (let i = 0; i < schedule.pageRate && this.pagesEscrow > 0; i += 1) {
      const page = PAGES - this.pagesEscrow;
      this.base[page] = vm.memory[page] ?? 0;
      this.pagesEscrow -= 1;
      if (this.pagesEscrow > 0) continue;
      escrow.fold = this.base.slice();
      if (cluster.model.armedLate) vm.table = new PageTable();
      cluster.event("escrow", { kind: "baseComplete", complete: true });
    }
    if (this.pagesEscrow === 0 && !host.state.baseCovered)
      cluster.event(host.role, { kind: "baseCovered", covered: true });
  }

  // ---- a protected VM that leaves

  /** The source has promised to have this VM no more. What the escrow has becomes the base of where it went. */
  left(host: Host): void {
    const { leftAt } = host.state;
    // Said late: somebody else's base is there by now, or on its way.
    if (leftAt === null || host.packageOf !== this.baseId || (this.#begun !== null && this.#begun.host !== host))
      return;
    // Said again: what it left with is served once more.
    if (this.#follows?.n === leftAt.n && this.#follows.generation === leftAt.generation) return;
    this.#bases += 1;
    this.#follows = { id: this.#bases, ...leftAt };
    if (this.#begun?.host === host) this.#begun = null;
    host.hasBase = true;
    host.baseId = this.#bases;
    this.pagesTarget = 0;
    this.covered = false;
  }

  /** Source or target have the escrow lay its log over its copy. */
  #follow(): void {
    const { hosts, network, now_ms } = this.#cluster;
    const { escrow, target } = hosts;
    const follows = this.#follows;
    if (follows === null) return;
    const asks = (["source", "target"] as const).filter((role) => network.canTalk(role, "escrow"));
    if (this.baseId < follows.id && asks.length > 0 && escrow.frozenUntil_ms <= now_ms) this.#makeFollow(follows);
    if (this.baseId !== follows.id || target.state.base !== "following" || target.frozenUntil_ms > now_ms) return;
    if (target.vm !== null && network.canTalk("target", "escrow")) {
      this.#cluster.event("target", { kind: "baseFollowed" });
    }
  }

  #makeFollow({ id, n, generation }: Follows): void {
    const { escrow } = this.#cluster.hosts;
    const last = escrow.log[escrow.log.length - 1];
    const there = last !== undefined && last.header.n === n && last.header.generation === generation;
    // Else what it has is not what the VM left with: nothing is made of it.
    if (!there || this.pagesEscrow > 0) return;
    this.base = foldOf(this.base, escrow.log);
    this.baseId = id;
    escrow.log = [{ ...last, changes: { pages: [], contents: [] }, relativeTo: id }];
    escrow.fold = this.base.slice();
  }

  // ---- its way

  captureLater(host: Host): void {
    const cluster = this.#cluster;
    const { life } = host;
    cluster.at(30 + cluster.random.int(0, 80), () => {
      const { vm } = host;
      if (host.life !== life || !host.up || vm === null || host.state.phase !== "precopy") return;
      if (this.#givingUp.chance(GIVEN_UP)) {
        cluster.event("source", { kind: "migrationFailed" });
        // Whoever manages the VM asks once more.
        cluster.at(100, () => {
          if (host.life === life && host.up && host.state.phase === "idle")
            cluster.event("source", { kind: "migrate" });
        });
        return;
      }
      if (host.state.protect) {
        cluster.event("source", { kind: "memoryAhead" });
        return;
      }
      vm.running = false;
      host.package = snapshotOf(vm);
      this.base = host.package.memory;
      this.baseId = 0;
      cluster.hosts.escrow.fold = this.base.slice();
      cluster.oracle.packaged(host.package);
      const mark = frameNumber(vm.frames.length);
      cluster.event("source", { kind: "packageReady", mark, acked: frameNumber(Math.min(host.acked, mark)) });
    });
  }

  load(host: Host): void {
    const cluster = this.#cluster;
    const { life } = host;
    host.qemu += 1;
    const { qemu, dying } = host;
    const from = host.arrived;
    const relativeTo = this.#follows?.id ?? 0;
    cluster.at(10 + cluster.random.int(0, 40), () => {
      if (host.life !== life || host.qemu !== qemu || !host.up || from === null || host.state.vm !== "loading") return;
      if (dying) return;
      host.vm = { ...vmOf(from), running: true, relativeTo };
      cluster.event("target", { kind: "vmRunning" });
    });
  }

  /** One after another: what is asked for while a transaction is being taken is taken after it. */
  take(host: Host, action: TakeTransaction): void {
    if (host.taking !== null) {
      host.takeNext = action;
      return;
    }
    const cluster = this.#cluster;
    const { faults, random, schedule } = cluster;
    const { vm, life } = host;
    if (vm === null) return;
    host.taking = action;
    const fails = faults.takesFail || faults.untrackable;
    const { pages, mark } = fails ? { pages: [], mark: vm.frames.length } : this.#collect(host, vm, action);
    const bytes = pages.length * schedule.size.page_bytes;
    vm.still = true;
    cluster.at(2 + random.int(0, 8) + faults.take_ms + bytes / ASIDE_BYTES_PER_MS, () => {
      // An agent that died meanwhile never comes back to it.
      if (host.life !== life) return;
      vm.still = false;
      host.taking = null;
      const { generation, n, since } = action;
      if (fails) cluster.event(host.role, { kind: "transactionFailed", generation, n });
      else if (host.vm === vm) {
        const snapshot = snapshotOf(vm);
        if (action.last === true && host.state.leaving?.stage === "taking") {
          vm.running = false;
          host.package = snapshot;
          host.packageOf = vm.relativeTo;
        }
        host.bodies.set(keyOf(action), {
          header: { generation, n, since, mark: frameNumber(mark), acked: frameNumber(0) },
          snapshot,
          relativeTo: vm.relativeTo,
          changes: { pages, contents: pages.map((page) => snapshot.memory[page] ?? 0) },
          bytes: bytes + DEVICE_STATE_BYTES,
        });
        cluster.event(host.role, { kind: "transactionTaken", generation, n, mark: frameNumber(mark) });
      }
      const next = host.takeNext;
      host.takeNext = null;
      if (next !== null && host.life === life) this.take(host, next);
    });
  }

  #collect(host: Host, vm: Vm, { n, since }: TakeTransaction): { readonly pages: number[]; readonly mark: number } {
    const { model } = this.#cluster;
    vm.table.collect(n);
    const pages = vm.table.since(since === "base" ? 0 : since);
    const mark = vm.frames.length;
    if (since === "base" && model.basePresent) {
      for (let page = 0; page < this.pagesTarget; page += 1) if (!pages.includes(page)) pages.push(page);
    }
    // Of the transaction before, as a shell would say that reads its output too early.
    return { pages, mark: model.staleMark && n > 2 ? Math.max(0, host.state.gate.committed - 1) : mark };
  }

  /** The record is not sent again. */
  drop(host: Host, id: { readonly generation: number; readonly n: number }): void {
    host.bodies.delete(keyOf(id));
    this.#cluster.bulk?.drop(host);
    if (this.#cluster.model.dropForgets && host.takeNext !== null) host.vm?.table.forget();
  }

  restore(host: Host, action: Extract<Action, { kind: "startRestore" }>): void {
    const cluster = this.#cluster;
    const { random } = cluster;
    const { life } = host;
    host.qemu += 1;
    const { qemu } = host;
    cluster.at(3 + random.real() * 12, () => {
      if (host.life !== life || host.qemu !== qemu) return;
      const from = this.#material(host, action);
      // Who never had the VM has to be told what it is; a base of a switchover says nothing of that.
      const elsewhere = host.role === "target" || this.baseId !== 0;
      const left = action.from === "package" && host.hasBase;
      const base = left || this.hasBase(host) || (elsewhere && this.pagesEscrow === 0);
      if (from === null || !base) {
        cluster.event(host.role, { kind: "restoreFailed", generation: action.generation });
        return;
      }
      cluster.at(30 + random.int(0, 50) + from.bytes / cluster.schedule.size.link_bytes_per_ms, () => {
        if (host.life !== life || host.qemu !== qemu || !host.up) return;
        const { snapshot, mark, acked } = from;
        if (snapshot.frames.length !== mark) throw new Violation(3, "a record's mark is not its snapshot's");
        host.vm = { ...vmOf(snapshot), restoredMark: mark };
        const { generation, n } = action;
        const [upTo, arrived] = [frameNumber(mark), frameNumber(acked)];
        cluster.event(host.role, { kind: "restoreReady", generation, n, mark: upTo, acked: arrived });
      });
    });
  }

  /** What a VM is made of again: the package, or base and log up to a transaction. */
  #material(
    host: Host,
    { from, n }: Extract<Action, { kind: "startRestore" }>,
  ): { readonly snapshot: Snapshot; readonly mark: number; readonly acked: number; readonly bytes: number } | null {
    const cluster = this.#cluster;
    if (from === "package") {
      const snapshot = host.package;
      return snapshot === null ? null : { snapshot, mark: snapshot.frames.length, acked: 0, bytes: 0 };
    }
    const { escrow } = cluster.hosts;
    if (!cluster.network.canTalk(host.role, "escrow") || escrow.frozenUntil_ms > cluster.now_ms) return null;
    const record = escrow.log.find((candidate) => candidate.header.n === n);
    if (record === undefined) return null;
    const memory = foldOf(this.base, escrow.log, n);
    if (!sameMemory(memory, record.snapshot.memory)) {
      throw new Violation(3, `base and log do not give the memory of transaction ${n}, which is restored`);
    }
    const { mark, acked } = record.header;
    const bytes = escrow.log.reduce((sum, { bytes }) => sum + bytes, 0);
    return { snapshot: record.snapshot, mark, acked, bytes };
  }

  run(host: Host): void {
    const cluster = this.#cluster;
    const { vm } = host;
    if (vm === null) return;
    if (cluster.faults.runsFail) {
      cluster.later(host, 5, { kind: "runFailed" });
      return;
    }
    cluster.oracle.runs(host.role, snapshotOf(vm));
    vm.running = true;
    const { run_ms } = cluster.faults;
    const { life, qemu } = host;
    cluster.at(1 + run_ms, () => {
      if (host.life !== life || host.qemu !== qemu) return;
      cluster.event(host.role, { kind: "vmRunning" });
      cluster.later(host, 2, { kind: "edgeConnected", upTo: frameNumber(cluster.oracle.edgeCount) });
    });
  }

  // ---- its work, its output, its pages

  /** The guest works: its state moves on by chance, it writes pages, and now and then it says something. */
  #work(): void {
    const cluster = this.#cluster;
    const { random } = cluster;
    for (const role of ["source", "target"] as const) {
      const host = cluster.hosts[role];
      const { vm } = host;
      if (vm === null || !vm.running || vm.still) continue;
      if (!host.up || !host.agentUp || host.frozenUntil_ms > cluster.now_ms) continue;
      if (role === "target" && this.drains && this.pagesTarget < PAGES && this.#route() === null && random.chance(0.5))
        continue;
      vm.hash = (Math.imul(vm.hash, 0x01000193) ^ random.uint32()) >>> 0;
      this.#write(vm);
      if (random.chance(0.35)) continue;
      this.framesEver += 1;
      // The content carries its own number over all VMs in the upper part, so that freshness can be told.
      vm.frames.push(this.framesEver * 65_536 + (vm.hash & 0xffff));
      cluster.event(role, { kind: "output", upTo: frameNumber(vm.frames.length) });
    }
    cluster.at(50 + random.real() * 40, () => this.#work());
  }

  #write(vm: Vm): void {
    const { random, schedule } = this.#cluster;
    const { writes, hot_pages } = schedule.size;
    for (let i = 0; i < writes; i += 1) {
      const page = random.int(0, hot_pages - 1);
      this.#writes += 1;
      vm.memory[page] = this.#writes;
      vm.table.note(page);
    }
  }

  release(host: Host, action: Extract<Action, { kind: "releaseOutput" }>): void {
    const cluster = this.#cluster;
    const { oracle, random } = cluster;
    if (host.vm !== null) host.frames = host.vm.frames;
    oracle.released(host.role, action, host.state, host.frames, host.vm?.restoredMark ?? null);
    const frames = host.frames.slice(action.from - 1, action.to);
    const { life } = host;
    const lost = random.chance(0.5);
    cluster.at(0.5 + random.real() * 4, () => {
      // Bytes in the socket of an agent that died may or may not have got out.
      if (lost && (host.life !== life || !host.agentUp || !host.up)) return;
      let gap = false;
      for (const [i, content] of frames.entries()) {
        const became = oracle.arrives(action.from + i, content);
        if (became === "taken") this.edgeFresh = Math.max(this.edgeFresh, Math.floor(content / 65_536));
        if (became === "gap") gap = true;
      }
      const upTo = frameNumber(oracle.edgeCount);
      cluster.at(0.5 + random.real() * 4, () => {
        if (host.life !== life || !host.agentUp || !host.up) return;
        host.acked = Math.max(host.acked, upTo);
        cluster.event(host.role, { kind: gap ? "edgeConnected" : "edgeAcked", upTo });
      });
    });
  }

  /** Who can really answer the target's page requests now, given the route its agent has chosen. */
  #route(): "base" | "escrow" | null {
    const { hosts, network } = this.#cluster;
    const { route } = hosts.target.state;
    const { hasBase } = hosts.source;
    if (route === "direct") return hasBase && network.canTalk("source", "target") ? "base" : null;
    if (route === "via-escrow") {
      return hasBase && network.canTalk("source", "escrow") && network.canTalk("escrow", "target") ? "base" : null;
    }
    return route === "escrow" && network.canTalk("escrow", "target") ? "escrow" : null;
  }

  /** The target's VM came by post-copy, and nobody has begun another base since. */
  get drains(): boolean {
    const when = this.#cluster.schedule.protect?.when;
    if (when === "before") return this.#follows !== null && this.baseId <= this.#follows.id;
    return this.baseId === 0 && when !== "alone";
  }

  #movePages(): void {
    const cluster = this.#cluster;
    this.#moveBase();
    this.#follow();
    if (this.drains) this.#drain();
    cluster.watch.look();
    cluster.at(60, () => this.#movePages());
  }

  #drain(): void {
    const cluster = this.#cluster;
    const { source, target } = cluster.hosts;
    const rate = cluster.schedule.pageRate;
    const works = target.vm !== null && target.agentUp && target.frozenUntil_ms <= cluster.now_ms;
    if (works && this.pagesTarget < PAGES) {
      const route = this.#route();
      if (route === "base" || (route === "escrow" && this.#followed && this.pagesTarget >= this.pagesEscrow)) {
        this.pagesTarget = Math.min(PAGES, this.pagesTarget + rate);
      }
    }
    const copies =
      source.hasBase && source.state.promised.generation > 0 && cluster.network.canTalk("source", "escrow");
    if (copies && this.#followed && this.pagesEscrow > 0) {
      this.pagesEscrow = cluster.bulk?.missing ?? Math.max(0, this.pagesEscrow - rate);
      if (this.pagesEscrow === 0) cluster.event("escrow", { kind: "baseComplete", complete: true });
    }
    const covered = (this.#followed && this.pagesTarget >= this.pagesEscrow) || this.pagesTarget >= PAGES;
    if (covered !== this.covered && target.vm !== null) {
      this.covered = covered;
      cluster.event("target", { kind: "baseCovered", covered });
    }
    if (target.vm !== null && this.pagesTarget >= PAGES && !target.state.allPages) {
      cluster.event("target", { kind: "allPagesArrived" });
    }
  }
}

/** Asked anew: an offer that is heard at once changes it. */
function isAdopted({ adopted }: { readonly adopted: boolean }): boolean {
  return adopted;
}

/** A log that lost what it had answered for, or missed some, restores nothing before a later generation: nothing rests on it. */
function logRestores({ log, durable, state }: Host): boolean {
  const last = log[log.length - 1]?.header;
  const validFrom = Math.max(durable?.descriptor.validFrom ?? 0, state.opened.validFrom);
  return last !== undefined && last.generation >= validFrom;
}
