import type { Action, EventBody, Message, Role } from "../core/index.ts";
import type { Cluster } from "./cluster.ts";
import { crashAgent, type Host, loseMemory, makeAnother, startAgent } from "./hosts.ts";
import type { Fault, Step } from "./schedule.ts";
import { cutLog, UP_AGAIN_MS } from "./storage.ts";

/** Faults that do nothing by themselves: others look whether they are there. */
const PASSIVE: ReadonlySet<Fault["kind"]> = new Set(["delay", "slow-takes", "slow-store", "slow-run", "full-disk"]);

/** How often an operator says that there is another escrow. */
const NAMED_EVERY_MS = 120;

/** Strikes with the schedule's faults: at their time, or when an agent takes the step that they wait for. */
export class Faults {
  readonly #cluster: Cluster;
  readonly #armed: { fault: Fault; count: number }[] = [];
  readonly #delays: { readonly fault: Extract<Fault, { kind: "delay" }>; times: number }[] = [];
  readonly #fsyncs: Role[] = [];
  #slowTakes: number[] = [];
  #slowStores: number[] = [];
  #slowRuns: number[] = [];
  #failingTakes = 0;
  #failingRuns = 0;
  #fullDisks = 0;
  #untrackables = 0;
  #busyUntil_ms: Record<Role, number> = { source: 0, target: 0, escrow: 0 };
  /** When the last fault known so far is over. */
  quiet_ms = 0;
  /** The only fault is one cut link, and the target's VM was running when it came. */
  ranWhenCut = false;

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  begin(): void {
    for (const fault of this.#cluster.schedule.faults) {
      if ("at_ms" in fault.when) {
        this.quiet_ms = Math.max(this.quiet_ms, fault.when.at_ms + lengthOf(fault));
        this.#cluster.at(fault.when.at_ms, () => this.#inject(fault));
      } else this.#armed.push({ fault, count: fault.when.count });
    }
  }

  /** What has not struck by now does not strike any more. */
  disarm(): void {
    this.#armed.length = 0;
    this.#delays.length = 0;
    this.#fsyncs.length = 0;
  }

  /** A fault that ends, or will, is not over yet. */
  get anyUnderWay(): boolean {
    return this.#cluster.now_ms <= this.quiet_ms;
  }

  noteAction(role: Role, action: Action): void {
    if (this.#armed.length === 0) return;
    this.#note(role, action.kind);
    if (action.kind === "send") this.#note(role, `send:${action.message.kind}`);
    if (action.kind === "report") this.#note(role, `report:${action.report.what}`);
  }

  #note(role: Role, step: Step): void {
    for (let i = this.#armed.length - 1; i >= 0; i -= 1) {
      const armed = this.#armed[i];
      if (armed === undefined) continue;
      const { fault } = armed;
      const { when } = fault;
      if ("at_ms" in when || when.by !== role || when.after !== step) continue;
      armed.count -= 1;
      if (armed.count > 0) continue;
      this.#armed.splice(i, 1);
      this.quiet_ms = Math.max(this.quiet_ms, this.#cluster.now_ms + when.plus_ms + lengthOf(fault));
      // The step itself feels it.
      if (when.plus_ms === 0 && PASSIVE.has(fault.kind)) this.#inject(fault);
      else this.#cluster.at(when.plus_ms, () => this.#inject(fault));
    }
  }

  // ---- what the simulated parts ask

  /** How much later than others the next such message comes. */
  delayOf(by: Role, message: Message["kind"]): number {
    const delay = this.#delays.find(({ fault, times }) => times > 0 && fault.by === by && fault.message === message);
    if (delay === undefined) return 0;
    delay.times -= 1;
    return delay.fault.delay_ms;
  }

  fsyncFails(role: Role): boolean {
    const i = this.#fsyncs.indexOf(role);
    if (i >= 0) this.#fsyncs.splice(i, 1);
    return i >= 0;
  }

  get take_ms(): number {
    return Math.max(0, ...this.#slowTakes);
  }

  get store_ms(): number {
    return Math.max(0, ...this.#slowStores);
  }

  get run_ms(): number {
    return Math.max(0, ...this.#slowRuns);
  }

  get takesFail(): boolean {
    return this.#failingTakes > 0;
  }

  get runsFail(): boolean {
    return this.#failingRuns > 0;
  }

  get diskFull(): boolean {
    return this.#fullDisks > 0;
  }

  get untrackable(): boolean {
    return this.#untrackables > 0;
  }

  // ---- striking

  #inject(fault: Fault): void {
    const cluster = this.#cluster;
    cluster.trace?.push(`${cluster.now_ms.toFixed(1)} FAULT ${JSON.stringify(fault)}`);
    switch (fault.kind) {
      case "cut": {
        const { pair, direction, for_ms } = fault;
        const only = cluster.schedule.faults.length === 1 && !cluster.schedule.nervous;
        // One that is about to leave may have to come back.
        const stays = cluster.schedule.protect?.when !== "before" || cluster.runner.role === "target";
        this.ranWhenCut = only && stays && cluster.runner.state.vm === "running";
        cluster.network.cut(pair, direction);
        if (for_ms !== null) cluster.at(for_ms, () => cluster.network.heal(pair, direction));
        return;
      }
      case "delay":
        this.#delays.push({ fault, times: fault.times });
        return;
      case "crash-agent":
        this.#crash(cluster.hosts[fault.role], fault.for_ms);
        return;
      case "lose-tail": {
        const { escrow } = cluster.hosts;
        if (!escrow.up || !escrow.agentUp) return;
        this.#crash(escrow, fault.for_ms);
        const kept = Math.max(0, escrow.log.length - fault.records);
        escrow.lostSynced = escrow.log[kept]?.synced === true;
        cutLog(cluster, escrow, kept);
        return;
      }
      case "kill-host": {
        const host = cluster.hosts[fault.role];
        loseMemory(cluster, host);
        host.up = false;
        return;
      }
      case "reboot-host": {
        const host = cluster.hosts[fault.role];
        // A disk that lost what it had said it has, and then the memory of it before anybody looked: nobody could know.
        if (!host.up || host.lostSynced) return;
        loseMemory(cluster, host);
        host.up = false;
        cluster.at(fault.for_ms, () => {
          host.up = true;
          host.agentUp = false;
          startAgent(cluster, host);
        });
        return;
      }
      case "replace-escrow": {
        const { escrow } = cluster.hosts;
        makeAnother(cluster, escrow);
        escrow.up = false;
        cluster.at(fault.for_ms, () => {
          escrow.up = true;
          startAgent(cluster, escrow);
          this.#nameEscrow(escrow.key);
        });
        return;
      }
      case "freeze-host": {
        const host = cluster.hosts[fault.role];
        host.frozenUntil_ms = Math.max(host.frozenUntil_ms, cluster.now_ms + fault.for_ms);
        return;
      }
      case "kill-qemu":
        this.#killQemu(cluster.hosts[fault.role]);
        return;
      case "busy":
        this.#busyUntil_ms[fault.role] = cluster.now_ms + fault.for_ms;
        this.#stall(cluster.hosts[fault.role], fault.late_ms);
        return;
      case "slow-takes":
        this.#slowTakes.push(fault.take_ms);
        cluster.at(fault.for_ms, () => this.#slowTakes.splice(this.#slowTakes.indexOf(fault.take_ms), 1));
        return;
      case "slow-store":
        this.#slowStores.push(fault.store_ms);
        cluster.at(fault.for_ms, () => this.#slowStores.splice(this.#slowStores.indexOf(fault.store_ms), 1));
        return;
      case "slow-run":
        this.#slowRuns.push(fault.run_ms);
        cluster.at(fault.for_ms, () => this.#slowRuns.splice(this.#slowRuns.indexOf(fault.run_ms), 1));
        return;
      case "failing-takes":
        this.#failingTakes += 1;
        cluster.at(fault.for_ms, () => {
          this.#failingTakes -= 1;
        });
        return;
      case "failing-run":
        this.#failingRuns += 1;
        cluster.at(fault.for_ms, () => {
          this.#failingRuns -= 1;
        });
        return;
      case "full-disk":
        this.#fullDisks += 1;
        cluster.at(fault.for_ms, () => {
          this.#fullDisks -= 1;
        });
        return;
      case "untrackable":
        this.#untrackables += 1;
        this.#tellRunners({ kind: "untrackable", why: "the tracker does not open" });
        if (fault.for_ms === null) return;
        cluster.at(fault.for_ms, () => {
          this.#untrackables -= 1;
          if (!this.untrackable) this.#tellRunners({ kind: "trackable" });
        });
        return;
      case "fsync-error":
        this.#fsyncs.push(fault.role);
        cluster.at(fault.for_ms, () => this.fsyncFails(fault.role));
        return;
    }
  }

  #tellRunners(body: EventBody): void {
    this.#cluster.event("target", body);
    if (this.#cluster.schedule.protect !== undefined) this.#cluster.event("source", body);
  }

  /** An operator names it to whoever listens, until both others know. */
  #nameEscrow(key: string | null): void {
    const cluster = this.#cluster;
    const { source, target, escrow } = cluster.hosts;
    if (key === null || escrow.key !== key) return;
    for (const host of [source, target])
      if (host.state.escrow !== key) cluster.event(host.role, { kind: "escrowReplaced", key });
    if (source.state.escrow !== key || target.state.escrow !== key)
      cluster.at(NAMED_EVERY_MS, () => this.#nameEscrow(key));
  }

  #crash(host: Host, for_ms: number | null): void {
    if (!host.up || !host.agentUp) return;
    crashAgent(this.#cluster, host);
    if (for_ms === null) host.everBack = false;
    else this.#cluster.at(for_ms, () => startAgent(this.#cluster, host));
  }

  #killQemu(host: Host): void {
    const cluster = this.#cluster;
    if (!host.up || (host.vm === null && host.state.vm !== "incoming" && host.state.vm !== "loading")) return;
    if (host.vm !== null) host.frames = host.vm.frames;
    host.vm = null;
    host.qemu += 1;
    host.dying = true;
    const { life } = host;
    cluster.at(1 + cluster.random.int(0, 15), () => {
      host.dying = false;
      if (host.life === life) cluster.event(host.role, { kind: "qemuGone" });
    });
  }

  /** No processor, for a while; then a little; and again. */
  #stall(host: Host, late_ms: number): void {
    const cluster = this.#cluster;
    if (cluster.now_ms >= this.#busyUntil_ms[host.role]) return;
    const for_ms = cluster.random.int(10, Math.max(10, late_ms));
    host.stalledUntil_ms = Math.max(host.stalledUntil_ms, cluster.now_ms + for_ms);
    cluster.at(for_ms + cluster.random.int(2, 60), () => this.#stall(host, late_ms));
  }
}

function lengthOf(fault: Fault): number {
  let length_ms = "for_ms" in fault ? (fault.for_ms ?? 0) : 0;
  if (fault.kind === "busy") length_ms += fault.late_ms;
  if (fault.kind === "slow-takes") length_ms += fault.take_ms;
  if (fault.kind === "slow-store") length_ms += fault.store_ms;
  if (fault.kind === "fsync-error") length_ms += UP_AGAIN_MS;
  if (fault.kind === "delay") length_ms += fault.delay_ms;
  return length_ms;
}
