import { type Action, frameNumber } from "../core/index.ts";
import type { Cluster } from "./cluster.ts";
import type { Host } from "./hosts.ts";
import { type Snapshot, Violation } from "./oracle.ts";
import { Random } from "./random.ts";

export const PAGES = 100;
/** Of migrations that QEMU gives up before its package. */
const GIVEN_UP = 0.02;

/** The one VM, wherever it is: it works, its pages arrive, it is captured, taken, restored, and what it says is let out. */
export class ModelVm {
  readonly #cluster: Cluster;
  /** Drawn from by itself, so that no other schedule becomes another. */
  readonly #givingUp: Random;
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

  begin(): void {
    this.#work();
    this.#movePages();
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
      vm.running = false;
      host.package = { hash: vm.hash, frames: vm.frames.slice() };
      cluster.oracle.committed(host.package, 0);
      const mark = frameNumber(vm.frames.length);
      cluster.event("source", { kind: "packageReady", mark, acked: frameNumber(Math.min(host.acked, mark)) });
    });
  }

  load(host: Host): void {
    const cluster = this.#cluster;
    const { life } = host;
    host.qemu += 1;
    const { qemu, dying } = host;
    const from = cluster.hosts.source.package;
    cluster.at(10 + cluster.random.int(0, 40), () => {
      if (host.life !== life || host.qemu !== qemu || !host.up || from === null || host.state.vm !== "loading") return;
      if (dying) return;
      host.vm = { hash: from.hash, frames: from.frames.slice(), running: true };
      cluster.event("target", { kind: "vmRunning" });
    });
  }

  take(host: Host, action: Extract<Action, { kind: "takeTransaction" }>): void {
    const cluster = this.#cluster;
    const { qemu, life } = host;
    cluster.at(2 + cluster.random.int(0, 8), () => {
      const { vm } = host;
      if (host.life !== life || host.qemu !== qemu || vm === null) return;
      const header = {
        generation: action.generation,
        n: action.n,
        since: action.since,
        mark: frameNumber(0),
        acked: frameNumber(0),
      };
      host.bodies.set(action.generation * 10_000 + action.n, {
        header,
        snapshot: { hash: vm.hash, frames: vm.frames.slice() },
      });
      cluster.event("target", {
        kind: "transactionTaken",
        generation: action.generation,
        n: action.n,
        mark: frameNumber(vm.frames.length),
      });
    });
  }

  restore(host: Host, action: Extract<Action, { kind: "startRestore" }>): void {
    const cluster = this.#cluster;
    const { random } = cluster;
    const { life } = host;
    host.qemu += 1;
    const { qemu } = host;
    const fail = (): void => cluster.event(host.role, { kind: "restoreFailed", generation: action.generation });
    cluster.at(3 + random.real() * 12, () => {
      if (host.life !== life || host.qemu !== qemu) return;
      let snapshot: Snapshot | null = null;
      let mark = 0;
      let acked = 0;
      const { escrow } = cluster.hosts;
      if (action.from === "package") {
        snapshot = host.package;
        mark = snapshot?.frames.length ?? 0;
      } else if (cluster.network.canTalk(host.role, "escrow") && escrow.frozenUntil_ms <= cluster.now_ms) {
        const record = escrow.log.find((candidate) => candidate.header.n === action.n);
        if (record !== undefined) {
          snapshot = record.snapshot;
          mark = record.header.mark;
          acked = record.header.acked;
        }
      }
      const base = host.role === "source" ? host.hasBase : this.pagesEscrow === 0;
      if (snapshot === null || !base) return fail();
      const from = snapshot;
      cluster.at(30 + random.int(0, 50), () => {
        if (host.life !== life || host.qemu !== qemu || !host.up) return;
        if (from.frames.length !== mark) throw new Violation(3, "a record's mark is not its snapshot's");
        host.vm = { hash: from.hash, frames: from.frames.slice(), running: false };
        cluster.event(host.role, {
          kind: "restoreReady",
          generation: action.generation,
          n: action.n,
          mark: frameNumber(mark),
          acked: frameNumber(acked),
        });
      });
    });
  }

  run(host: Host): void {
    const cluster = this.#cluster;
    const { vm } = host;
    if (vm === null) return;
    cluster.oracle.runs(host.role, vm);
    vm.running = true;
    cluster.later(host, 1, { kind: "vmRunning" });
    cluster.later(host, 3, { kind: "edgeConnected", upTo: frameNumber(cluster.oracle.edgeCount) });
  }

  // ---- its work, its output, its pages

  /** The guest works: its state moves on by chance, and now and then it says something. */
  #work(): void {
    const cluster = this.#cluster;
    const { random } = cluster;
    for (const role of ["source", "target"] as const) {
      const host = cluster.hosts[role];
      const { vm } = host;
      if (vm === null || !vm.running || !host.up || !host.agentUp || host.frozenUntil_ms > cluster.now_ms) continue;
      if (role === "target" && this.pagesTarget < PAGES && this.#route() === null && random.chance(0.5)) continue;
      vm.hash = (Math.imul(vm.hash, 0x01000193) ^ random.uint32()) >>> 0;
      if (random.chance(0.35)) continue;
      this.framesEver += 1;
      // The content carries its own number over all VMs in the upper part, so that freshness can be told.
      vm.frames.push(this.framesEver * 65_536 + (vm.hash & 0xffff));
      cluster.event(role, { kind: "output", upTo: frameNumber(vm.frames.length) });
    }
    cluster.at(50 + random.real() * 40, () => this.#work());
  }

  release(host: Host, action: Extract<Action, { kind: "releaseOutput" }>): void {
    const cluster = this.#cluster;
    const { oracle, random } = cluster;
    if (host.vm !== null) host.frames = host.vm.frames;
    oracle.released(host.role, action, host.state, host.frames);
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

  #movePages(): void {
    const cluster = this.#cluster;
    const { source, target } = cluster.hosts;
    const rate = cluster.schedule.pageRate;
    const works = target.vm !== null && target.agentUp && target.frozenUntil_ms <= cluster.now_ms;
    if (works && this.pagesTarget < PAGES) {
      const route = this.#route();
      if (route === "base" || (route === "escrow" && this.pagesTarget >= this.pagesEscrow)) {
        this.pagesTarget = Math.min(PAGES, this.pagesTarget + rate);
      }
    }
    const copies =
      source.hasBase && source.state.promised.generation > 0 && cluster.network.canTalk("source", "escrow");
    if (copies && this.pagesEscrow > 0) {
      this.pagesEscrow = Math.max(0, this.pagesEscrow - rate);
      if (this.pagesEscrow === 0) cluster.event("escrow", { kind: "baseComplete", complete: true });
    }
    const covered = this.pagesTarget >= this.pagesEscrow || this.pagesTarget >= PAGES;
    if (covered !== this.covered && target.vm !== null) {
      this.covered = covered;
      cluster.event("target", { kind: "baseCovered", covered });
    }
    if (target.vm !== null && this.pagesTarget >= PAGES && !target.state.allPages) {
      cluster.event("target", { kind: "allPagesArrived" });
    }
    cluster.at(60, () => this.#movePages());
  }
}
