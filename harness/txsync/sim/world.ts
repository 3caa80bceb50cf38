import {
  type Action,
  type AgentEvent,
  type AgentState,
  ALL_RULES,
  type Descriptor,
  type Durable,
  type EventBody,
  frameNumber,
  GENESIS,
  type HostMemory,
  initialState,
  isFree,
  isOwner,
  type LogState,
  type Message,
  type RecordHeader,
  type Role,
  type Rules,
  step,
} from "../core/index.ts";
import { Oracle, type Snapshot, Violation } from "./oracle.ts";
import { EventQueue } from "./queue.ts";
import { Random } from "./random.ts";
import { type Fault, type Pair, ROLES, type Schedule } from "./schedule.ts";
import { stateCode } from "./signature.ts";

const PAGES = 100;
/** Of migrations that QEMU gives up before its package. */
const GIVEN_UP = 0.02;
const NERVOUS = { lease_ms: 45, heartbeat_ms: 30, epoch_ms: 60 } as const;
const TIMING = { lease_ms: 500, heartbeat_ms: 150, epoch_ms: 120 } as const;
/** After the last fault the VM has to run again within so many leases. */
const BOUND_LEASES = 9;

interface Vm {
  hash: number;
  frames: number[];
  running: boolean;
}

interface StoredRecord {
  readonly header: RecordHeader;
  readonly snapshot: Snapshot;
  synced: boolean;
}

interface Host {
  readonly role: Role;
  up: boolean;
  agentUp: boolean;
  everBack: boolean;
  /** Counts the agent's lives: what was meant for an earlier one is lost. */
  life: number;
  /** Counts the QEMUs of this host. */
  qemu: number;
  /** Its QEMU was killed, and the agent has not noticed yet. */
  dying: boolean;
  frozenUntil_ms: number;
  memoryKept: boolean;
  state: AgentState;
  durable: Durable | null;
  writing: Durable | null;
  vm: Vm | null;
  /** Frames that the agent holds; they outlive their QEMU, not their host. */
  frames: readonly number[];
  package: Snapshot | null;
  hasBase: boolean;
  committed: number | null;
  acked: number;
  log: StoredRecord[];
  bodies: Map<number, { header: RecordHeader; snapshot: Snapshot }>;
  readonly clockRate: number;
  readonly clockOffset_ms: number;
}

export interface Outcome {
  readonly violation: Violation | null;
  readonly events: number;
  /** Generations opened and routes taken, in order: the way of recovery. */
  readonly path: string;
  readonly live: boolean;
  /** Whether the rules of the game demanded that the VM run again. */
  readonly expectedLive: boolean;
  readonly trace: readonly string[];
}

/** Three hosts, their links, and one VM, played from a schedule. One world, one schedule. */
export class World {
  readonly oracle = new Oracle();
  readonly #schedule: Schedule;
  readonly #rules: Rules;
  readonly #queue = new EventQueue();
  readonly #random: Random;
  /** Drawn from by itself, so that no other schedule becomes another. */
  readonly #givingUp: Random;
  readonly #hosts: Record<Role, Host>;
  readonly #states: Set<number> | null;
  readonly #trace: string[] | null;
  /** How often each direction is cut, by `linkIndex()`. */
  readonly #cut = new Uint8Array(9);
  readonly #armed: { fault: Fault; count: number }[] = [];
  readonly #codes: Record<Role, number> = { source: 0, target: 0, escrow: 0 };
  #now_ms = 0;
  #events = 0;
  #path = "";
  #pagesTarget = 0;
  #pagesEscrow = PAGES;
  #covered = false;
  #quiet_ms = 0;
  #framesEver = 0;
  /** The only fault is one cut link, and the target's VM was running when it came. */
  #ranWhenCut = false;

  constructor(schedule: Schedule, options: { rules?: Rules; states?: Set<number>; trace?: boolean } = {}) {
    this.#schedule = schedule;
    this.#rules = options.rules ?? ALL_RULES;
    this.#random = new Random(schedule.seed ^ 0x5bd1e995);
    this.#givingUp = new Random(schedule.seed ^ 0x27d4eb2f);
    this.#states = options.states ?? null;
    this.#trace = options.trace === true ? [] : null;
    this.#hosts = { source: this.#host("source"), target: this.#host("target"), escrow: this.#host("escrow") };
  }

  run(): Outcome {
    let violation: Violation | null = null;
    let live = false;
    let expected = false;
    try {
      this.#begin();
      live = this.#play();
      expected = !this.#schedule.nervous && this.#mustBeLive();
      if (!live && expected) throw new Violation(4, "two hosts live and can talk, but the VM does not run again");
      if (
        this.#schedule.faults.length === 0 &&
        !this.#schedule.nervous &&
        this.#path.replace(/(direct|via-escrow|none|escrow) /g, "") !== "target:protected target:final "
      ) {
        throw new Violation(4, `nothing broke, and yet: ${this.#path}`);
      }
    } catch (thrown) {
      if (thrown instanceof Violation) violation = thrown;
      else if (thrown instanceof Error && thrown.name === "InvariantError")
        violation = new Violation(0, thrown.message);
      else throw thrown;
      this.#trace?.push(`${this.#now_ms.toFixed(1)} ${violation.message}`);
    }
    return {
      violation,
      events: this.#events,
      path: this.#path,
      live,
      expectedLive: expected,
      trace: this.#trace ?? [],
    };
  }

  // ---- time

  #at(delay_ms: number, run: () => void): void {
    this.#queue.push(this.#now_ms + delay_ms, run);
  }

  #begin(): void {
    for (const role of ROLES) this.#startAgent(this.#hosts[role]);
    this.#at(5, () => this.#event("source", { kind: "migrate" }));
    this.#vmStep();
    this.#pageStep();
    for (const fault of this.#schedule.faults) {
      const end_ms = "for_ms" in fault ? (fault.for_ms ?? 0) : 0;
      if ("at_ms" in fault.when) {
        this.#quiet_ms = Math.max(this.#quiet_ms, fault.when.at_ms + end_ms);
        this.#at(fault.when.at_ms, () => this.#inject(fault));
      } else this.#armed.push({ fault, count: fault.when.count });
    }
  }

  /** Plays until output flows again after the last fault, or the bound has passed. */
  #play(): boolean {
    let mark = -1;
    for (;;) {
      const next_ms = this.#queue.nextTime();
      if (mark < 0 && next_ms > Math.max(this.#quiet_ms, 1700)) {
        // The last fault is over: from here on only frames that are emitted later count.
        this.#armed.length = 0;
        mark = this.#framesEver;
      }
      if (mark >= 0 && this.#edgeFresh > mark && this.#settled()) return true;
      if (this.#schedule.nervous && next_ms > Math.max(this.#quiet_ms, 1700) + 300) return false;
      if (next_ms > Math.max(this.#quiet_ms, 1700) + BOUND_LEASES * TIMING.lease_ms)
        return mark >= 0 && this.#edgeFresh > mark;
      this.#now_ms = next_ms;
      this.#queue.pop()();
      if (this.#events > 60_000) throw new Violation(4, "the agents never come to rest");
    }
  }

  /** Number (over all VMs of the world) of the latest emitted frame that has arrived at the edge. */
  #edgeFresh = 0;

  /** Nothing more can go wrong that has not been seen: the VM has a final owner, or runs where it always ran. */
  #settled(): boolean {
    return true;
  }

  // ---- hosts and agents

  #host(role: Role): Host {
    const random = this.#random;
    return {
      role,
      up: true,
      agentUp: false,
      everBack: true,
      life: 0,
      qemu: 0,
      dying: false,
      frozenUntil_ms: 0,
      memoryKept: true,
      state: initialState({
        role,
        ...(this.#schedule.nervous ? NERVOUS : TIMING),
        durability: this.#schedule.durability,
        logSync: this.#schedule.logSync,
        rules: this.#rules,
      }),
      durable: null,
      writing: null,
      vm: role === "source" ? { hash: 1, frames: [], running: true } : null,
      frames: [],
      package: null,
      hasBase: role === "source",
      committed: -1,
      acked: 0,
      log: [],
      bodies: new Map(),
      clockRate: 1 + (random.real() - 0.5) * 0.1,
      clockOffset_ms: random.int(0, 1000),
    };
  }

  #startAgent(host: Host): void {
    if (!host.up || host.agentUp) return;
    host.agentUp = true;
    host.life += 1;
    const first = host.durable === null && host.life === 1;
    const last = host.log[host.log.length - 1];
    const log: LogState | null = last === undefined ? null : logState(last.header);
    let memory: HostMemory | null = null;
    if (!first && host.memoryKept) memory = this.#memoryOf(host);
    host.memoryKept = true;
    if (!first && host.durable === null) host.durable = { descriptor: GENESIS, opened: false };
    this.#event(host.role, { kind: "started", durable: first ? null : host.durable, memory, log });
    if (first) return;
    this.#event(host.role, { kind: "edgeConnected", upTo: frameNumber(this.oracle.edgeCount) });
    if (host.role === "target") {
      if (this.#covered) this.#event("target", { kind: "baseCovered", covered: true });
    } else if (host.role === "escrow" && this.#pagesEscrow === 0) {
      this.#event("escrow", { kind: "baseComplete", complete: true });
    }
  }

  /** What a restarted agent finds: its QEMU if it runs, or stands ready; a half-made one is removed. */
  #memoryOf(host: Host): HostMemory {
    const { vm, state } = host;
    let found: HostMemory["vm"] = state.vm;
    if (vm === null) found = host.role === "target" && (found === "incoming" || found === "none") ? "none" : "gone";
    else if (host.role === "source" && (host.durable?.descriptor.generation ?? 0) === 0) {
      // Stopped for a switchover that was never promised: the package has not left, the VM goes on.
      vm.running = true;
      found = "running";
    } else if (host.role === "source" && (state.vm === "none" || state.vm === "gone")) {
      host.vm = null;
      found = "none";
    } else found = vm.running ? "running" : "ready";
    if (host.role === "source" && found === "gone") found = "none";
    if (host.role === "target" && state.vm === "incoming") found = "gone";
    return {
      vm: found,
      produced: frameNumber(host.vm?.frames.length ?? 0),
      acked: frameNumber(Math.min(host.acked, host.vm?.frames.length ?? 0)),
      committed: host.committed,
      hasBase: host.hasBase,
      hasPackage: host.package !== null,
      restored: state.restored,
      everFree: state.everFree,
      allPages: host.role === "target" && host.vm !== null && this.#pagesTarget >= PAGES,
    };
  }

  #clock(host: Host): number {
    return host.clockOffset_ms + this.#now_ms * host.clockRate;
  }

  /** Something happens to an agent. If its host is frozen, it happens when it thaws. */
  #event(role: Role, body: EventBody): void {
    const host = this.#hosts[role];
    if (!host.up || !host.agentUp) return;
    if (host.frozenUntil_ms > this.#now_ms) {
      const { life } = host;
      this.#at(host.frozenUntil_ms - this.#now_ms, () => {
        if (host.life === life) this.#event(role, body);
      });
      return;
    }
    this.#events += 1;
    const event = { ...body, now_ms: this.#clock(host) } as AgentEvent;
    const { state, actions } = step(host.state, event);
    host.state = state;
    host.committed = state.tx.committed;
    if (this.#trace !== null && body.kind !== "timer" && !isHeartbeat(body)) {
      this.#trace.push(`${this.#now_ms.toFixed(1)} ${role} <- ${describe(body)}`);
    }
    if (this.#states !== null) this.#noteState(host);
    const { life } = host;
    for (const action of actions) {
      if (host.life !== life || !host.agentUp) return;
      this.#act(host, action);
    }
  }

  #noteState(host: Host): void {
    const code = stateCode(host.state);
    if (code === this.#codes[host.role]) return;
    this.#codes[host.role] = code;
    const { source, target, escrow } = this.#codes;
    this.#states?.add((source * 65_536 + target) * 65_536 + escrow);
  }

  /** An event for this life of the agent, later. */
  #later(host: Host, delay_ms: number, body: EventBody): void {
    const { life } = host;
    this.#at(delay_ms, () => {
      if (host.life === life) this.#event(host.role, body);
    });
  }

  #act(host: Host, action: Action): void {
    const random = this.#random;
    if (this.#trace !== null && action.kind !== "setTimer" && !(action.kind === "send" && isPing(action.message))) {
      this.#trace.push(`${this.#now_ms.toFixed(1)} ${host.role} -> ${describe(action)}`);
    }
    this.#checkArmed(host.role, action.kind);
    switch (action.kind) {
      case "send":
        this.#send(host, action.to, action.message);
        return;
      case "setTimer":
        this.#later(host, action.delay_ms / host.clockRate, { kind: "timer", timer: action.timer });
        return;
      case "persistPromise": {
        const { life } = host;
        host.writing = action.durable;
        this.#at(1 + random.real() * 6, () => {
          if (host.life !== life || !host.up) return;
          host.durable = action.durable;
          host.writing = null;
          this.#event(host.role, { kind: "promisePersisted", generation: action.durable.descriptor.generation });
        });
        return;
      }
      case "startMigration":
        this.#later(host, 20 + random.int(0, 60), { kind: "output", upTo: frameNumber(host.vm?.frames.length ?? 0) });
        this.#captureLater(host);
        return;
      case "cancelMigration":
        if (host.vm !== null) host.vm.running = true;
        return;
      case "sendPackage":
        host.vm = null;
        return;
      case "loadPackage": {
        const { life } = host;
        host.qemu += 1;
        const { qemu, dying } = host;
        const from = this.#hosts.source.package;
        this.#at(10 + random.int(0, 40), () => {
          if (host.life !== life || host.qemu !== qemu || !host.up || from === null || host.state.vm !== "loading")
            return;
          if (dying) return;
          host.vm = { hash: from.hash, frames: from.frames.slice(), running: true };
          this.#event("target", { kind: "vmRunning" });
        });
        return;
      }
      case "takeTransaction": {
        const { qemu, life } = host;
        this.#at(2 + random.int(0, 8), () => {
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
          this.#event("target", {
            kind: "transactionTaken",
            generation: action.generation,
            n: action.n,
            mark: frameNumber(vm.frames.length),
          });
        });
        return;
      }
      case "dropRecord":
        host.bodies.delete(action.generation * 10_000 + action.n);
        return;
      case "storeRecord":
        this.#store(host, action.header);
        return;
      case "releaseOutput":
        this.#release(host, action);
        return;
      case "startRestore":
        this.#restore(host, action);
        return;
      case "abortRestore":
      case "stopQemu":
        host.vm = null;
        host.qemu += 1;
        return;
      case "runQemu": {
        const { vm } = host;
        if (vm === null) return;
        this.oracle.runs(host.role, vm);
        vm.running = true;
        this.#later(host, 1, { kind: "vmRunning" });
        this.#later(host, 3, { kind: "edgeConnected", upTo: frameNumber(this.oracle.edgeCount) });
        return;
      }
      case "finish":
        if (host.role === "source") host.hasBase = false;
        if (host.role === "escrow") host.log = [];
        return;
      case "setPageRoute":
        this.#path += `${action.route} `;
        return;
      case "report":
        if (action.report.what === "violation") throw new Violation(1, action.report.why);
        if (action.report.what === "generation-opened") this.#openedBy(host, action.report.descriptor);
        return;
      case "startPageServer":
      case "stopPageServer":
        return;
    }
  }

  #openedBy(host: Host, d: Descriptor): void {
    this.#path += `${d.owner}:${d.mode} `;
    if (d.mode === "claim" && this.#ranWhenCut) throw new Violation(4, "one cut link cost a working VM its place");
    this.oracle.opened(d, host.role, host.state);
  }

  // ---- links

  /** Is the direction from one host to another alive? */
  #pathOk(from: Role, to: Role): boolean {
    return this.#cut[linkIndex(from, to)] === 0;
  }

  #canTalk(a: Role, b: Role): boolean {
    const up = (role: Role): boolean => this.#hosts[role].up && this.#hosts[role].agentUp;
    return up(a) && up(b) && this.#pathOk(a, b) && this.#pathOk(b, a);
  }

  #send(host: Host, to: Role, message: Message): void {
    const random = this.#random;
    const from = host.role;
    if (!this.#pathOk(from, to)) return;
    const body = message.kind === "append" ? host.bodies.get(message.generation * 10_000 + message.n) : undefined;
    const times = random.chance(0.03) ? 2 : 1;
    for (let i = 0; i < times; i += 1) {
      const delay_ms = random.chance(0.04) ? 20 + random.real() * 180 : 0.3 + random.real() * 6;
      this.#at(delay_ms, () => {
        // What is under way when a link is cut is lost with it.
        if (!this.#pathOk(from, to)) return;
        if (body !== undefined) this.#hosts[to].bodies.set(body.header.generation * 10_000 + body.header.n, body);
        this.#event(to, { kind: "message", from, message });
      });
    }
  }

  // ---- the VM and what surrounds it

  #captureLater(host: Host): void {
    const { life } = host;
    this.#at(30 + this.#random.int(0, 80), () => {
      const { vm } = host;
      if (host.life !== life || !host.up || vm === null || host.state.phase !== "precopy") return;
      if (this.#givingUp.chance(GIVEN_UP)) {
        this.#event("source", { kind: "migrationFailed" });
        // Whoever manages the VM asks once more.
        this.#at(100, () => {
          if (host.life === life && host.up && host.state.phase === "idle") this.#event("source", { kind: "migrate" });
        });
        return;
      }
      vm.running = false;
      host.package = { hash: vm.hash, frames: vm.frames.slice() };
      this.oracle.committed(host.package, 0);
      const mark = frameNumber(vm.frames.length);
      this.#event("source", { kind: "packageReady", mark, acked: frameNumber(Math.min(host.acked, mark)) });
    });
  }

  /** The guest works: its state moves on by chance, and now and then it says something. */
  #vmStep(): void {
    const random = this.#random;
    for (const role of ["source", "target"] as const) {
      const host = this.#hosts[role];
      const { vm } = host;
      if (vm === null || !vm.running || !host.up || !host.agentUp || host.frozenUntil_ms > this.#now_ms) continue;
      if (role === "target" && this.#pagesTarget < PAGES && this.#route() === null && random.chance(0.5)) continue;
      vm.hash = (Math.imul(vm.hash, 0x01000193) ^ random.uint32()) >>> 0;
      if (random.chance(0.35)) continue;
      this.#framesEver += 1;
      // The content carries its own number over all VMs in the upper part, so that freshness can be told.
      vm.frames.push(this.#framesEver * 65_536 + (vm.hash & 0xffff));
      this.#event(role, { kind: "output", upTo: frameNumber(vm.frames.length) });
    }
    this.#at(50 + random.real() * 40, () => this.#vmStep());
  }

  /** Who can really answer the target's page requests now, given the route its agent has chosen. */
  #route(): "base" | "escrow" | null {
    const { route } = this.#hosts.target.state;
    const { hasBase } = this.#hosts.source;
    if (route === "direct") return hasBase && this.#canTalk("source", "target") ? "base" : null;
    if (route === "via-escrow") {
      return hasBase && this.#canTalk("source", "escrow") && this.#canTalk("escrow", "target") ? "base" : null;
    }
    return route === "escrow" && this.#canTalk("escrow", "target") ? "escrow" : null;
  }

  #pageStep(): void {
    const { source, target } = this.#hosts;
    const rate = this.#schedule.pageRate;
    if (target.vm !== null && target.agentUp && target.frozenUntil_ms <= this.#now_ms && this.#pagesTarget < PAGES) {
      const route = this.#route();
      if (route === "base") this.#pagesTarget = Math.min(PAGES, this.#pagesTarget + rate);
      else if (route === "escrow" && this.#pagesTarget >= this.#pagesEscrow) {
        this.#pagesTarget = Math.min(PAGES, this.#pagesTarget + rate);
      }
    }
    if (
      source.hasBase &&
      source.state.promised.generation > 0 &&
      this.#canTalk("source", "escrow") &&
      this.#pagesEscrow > 0
    ) {
      this.#pagesEscrow = Math.max(0, this.#pagesEscrow - rate);
      if (this.#pagesEscrow === 0) this.#event("escrow", { kind: "baseComplete", complete: true });
    }
    const covered = this.#pagesTarget >= this.#pagesEscrow || this.#pagesTarget >= PAGES;
    if (covered !== this.#covered && target.vm !== null) {
      this.#covered = covered;
      this.#event("target", { kind: "baseCovered", covered });
    }
    if (target.vm !== null && this.#pagesTarget >= PAGES && !target.state.allPages) {
      this.#event("target", { kind: "allPagesArrived" });
    }
    this.#at(60, () => this.#pageStep());
  }

  #store(host: Host, header: RecordHeader): void {
    const body = host.bodies.get(header.generation * 10_000 + header.n);
    if (body === undefined) throw new Error("a record without a body was stored");
    const { life } = host;
    const disk = this.#schedule.logSync === "disk";
    this.#at(disk ? 2 + this.#random.real() * 10 : 0.3 + this.#random.real(), () => {
      if (!host.up) return;
      if (host.life !== life) {
        // The agent died while it wrote: whole or not at all, by chance (a torn record is cut off at the next start).
        return;
      }
      host.log.push({ header, snapshot: body.snapshot, synced: disk });
      this.oracle.committed(body.snapshot, header.generation);
      this.#event("escrow", { kind: "recordStored", generation: header.generation, n: header.n });
    });
  }

  #release(host: Host, action: Extract<Action, { kind: "releaseOutput" }>): void {
    if (host.vm !== null) host.frames = host.vm.frames;
    this.oracle.released(host.role, action, host.state, host.frames);
    const frames = host.frames.slice(action.from - 1, action.to);
    const { life } = host;
    const lost = this.#random.chance(0.5);
    this.#at(0.5 + this.#random.real() * 4, () => {
      // Bytes in the socket of an agent that died may or may not have got out.
      if (lost && (host.life !== life || !host.agentUp || !host.up)) return;
      let gap = false;
      for (const [i, content] of frames.entries()) {
        const became = this.oracle.arrives(action.from + i, content);
        if (became === "taken") this.#edgeFresh = Math.max(this.#edgeFresh, Math.floor(content / 65_536));
        if (became === "gap") gap = true;
      }
      const upTo = frameNumber(this.oracle.edgeCount);
      this.#at(0.5 + this.#random.real() * 4, () => {
        if (host.life !== life || !host.agentUp || !host.up) return;
        host.acked = Math.max(host.acked, upTo);
        this.#event(host.role, { kind: gap ? "edgeConnected" : "edgeAcked", upTo });
      });
    });
  }

  #restore(host: Host, action: Extract<Action, { kind: "startRestore" }>): void {
    const { life } = host;
    host.qemu += 1;
    const { qemu } = host;
    const fail = (): void => this.#event(host.role, { kind: "restoreFailed", generation: action.generation });
    this.#at(3 + this.#random.real() * 12, () => {
      if (host.life !== life || host.qemu !== qemu) return;
      let snapshot: Snapshot | null = null;
      let mark = 0;
      let acked = 0;
      if (action.from === "package") {
        snapshot = host.package;
        mark = snapshot?.frames.length ?? 0;
      } else if (this.#canTalk(host.role, "escrow") && this.#hosts.escrow.frozenUntil_ms <= this.#now_ms) {
        const record = this.#hosts.escrow.log.find((candidate) => candidate.header.n === action.n);
        if (record !== undefined) {
          snapshot = record.snapshot;
          mark = record.header.mark;
          acked = record.header.acked;
        }
      }
      const base = host.role === "source" ? host.hasBase : this.#pagesEscrow === 0;
      if (snapshot === null || !base) return fail();
      const from = snapshot;
      this.#at(30 + this.#random.int(0, 50), () => {
        if (host.life !== life || host.qemu !== qemu || !host.up) return;
        if (from.frames.length !== mark) throw new Violation(3, "a record's mark is not its snapshot's");
        host.vm = { hash: from.hash, frames: from.frames.slice(), running: false };
        this.#event(host.role, {
          kind: "restoreReady",
          generation: action.generation,
          n: action.n,
          mark: frameNumber(mark),
          acked: frameNumber(acked),
        });
      });
    });
  }

  // ---- faults

  #checkArmed(role: Role, kind: Action["kind"]): void {
    for (let i = this.#armed.length - 1; i >= 0; i -= 1) {
      const armed = this.#armed[i];
      if (armed === undefined) continue;
      const { when } = armed.fault;
      if ("at_ms" in when || when.by !== role || when.after !== kind) continue;
      armed.count -= 1;
      if (armed.count > 0) continue;
      this.#armed.splice(i, 1);
      const { fault } = armed;
      const end_ms = "for_ms" in fault ? (fault.for_ms ?? 0) : 0;
      this.#quiet_ms = Math.max(this.#quiet_ms, this.#now_ms + when.plus_ms + end_ms);
      this.#at(when.plus_ms, () => this.#inject(fault));
    }
  }

  #inject(fault: Fault): void {
    this.#trace?.push(`${this.#now_ms.toFixed(1)} FAULT ${JSON.stringify(fault)}`);
    switch (fault.kind) {
      case "cut": {
        const keys = cutKeys(fault.pair, fault.direction);
        const only = this.#schedule.faults.length === 1 && !this.#schedule.nervous;
        this.#ranWhenCut = only && this.#hosts.target.state.vm === "running";
        for (const key of keys) this.#cut[key] = (this.#cut[key] ?? 0) + 1;
        if (fault.for_ms === null) return;
        this.#at(fault.for_ms, () => {
          for (const key of keys) this.#cut[key] = (this.#cut[key] ?? 1) - 1;
        });
        return;
      }
      case "crash-agent": {
        const host = this.#hosts[fault.role];
        if (!host.up || !host.agentUp) return;
        this.#crash(host);
        const { for_ms } = fault;
        if (for_ms === null) host.everBack = false;
        else this.#at(for_ms, () => this.#startAgent(host));
        return;
      }
      case "kill-host": {
        const host = this.#hosts[fault.role];
        this.#loseMemory(host);
        host.up = false;
        return;
      }
      case "reboot-host": {
        const host = this.#hosts[fault.role];
        if (!host.up) return;
        this.#loseMemory(host);
        host.up = false;
        this.#at(fault.for_ms, () => {
          host.up = true;
          host.agentUp = false;
          this.#startAgent(host);
        });
        return;
      }
      case "freeze-host": {
        const host = this.#hosts[fault.role];
        host.frozenUntil_ms = Math.max(host.frozenUntil_ms, this.#now_ms + fault.for_ms);
        return;
      }
      case "kill-qemu": {
        const host = this.#hosts[fault.role];
        if (!host.up || (host.vm === null && host.state.vm !== "incoming" && host.state.vm !== "loading")) return;
        if (host.vm !== null) host.frames = host.vm.frames;
        host.vm = null;
        host.qemu += 1;
        host.dying = true;
        const { life } = host;
        this.#at(1 + this.#random.int(0, 15), () => {
          host.dying = false;
          if (host.life === life) this.#event(fault.role, { kind: "qemuGone" });
        });
        return;
      }
    }
  }

  #crash(host: Host): void {
    host.agentUp = false;
    host.life += 1;
    // A write under way may have reached the disk or not.
    if (host.writing !== null && this.#random.chance(0.5)) host.durable = host.writing;
    host.writing = null;
    const { vm, state } = host;
    // QEMU outlives the agent, but not in the fatal window, and not half restored.
    if (vm !== null && !vm.running && state.vm !== "ready" && !(host.role === "source" && state.vm === "running")) {
      if (state.promised.generation > 0 && (host.durable?.descriptor.generation ?? 0) > 0) host.vm = null;
    }
    if (state.vm === "loading") host.vm = null;
  }

  #loseMemory(host: Host): void {
    if (host.agentUp) this.#crash(host);
    host.vm = null;
    host.qemu += 1;
    host.package = host.role === "source" ? null : host.package;
    host.hasBase = false;
    host.memoryKept = false;
    host.committed = null;
    host.acked = 0;
    host.bodies.clear();
    if (host.role === "escrow") {
      this.#pagesEscrow = PAGES;
      const synced = host.log.filter((record) => record.synced).length;
      const kept = this.#random.int(synced, host.log.length);
      host.log.length = kept;
    }
  }

  // ---- what must be

  /** Must the VM run at the end? Says no where the loss is one that DESIGN.md allows. */
  #mustBeLive(): boolean {
    const { source, target, escrow } = this.#hosts;
    const st = this.#canTalk("source", "target");
    const se = this.#canTalk("source", "escrow");
    const te = this.#canTalk("target", "escrow");
    const promisedBy = (host: Host): Descriptor =>
      host.agentUp ? host.state.promised : (host.durable?.descriptor ?? GENESIS);
    // Before switchover the VM lives and dies with the source.
    if (promisedBy(source).generation === 0) return source.up && source.agentUp && source.vm !== null;
    const valid = (d: Descriptor): boolean => {
      const last = escrow.log[escrow.log.length - 1];
      return last === undefined ? d.validFrom <= 1 : last.header.generation >= d.validFrom;
    };
    // A free generation that somebody else has promised may have been opened: its owner or nobody.
    let free: Descriptor | null = null;
    for (const host of [source, target, escrow]) {
      const d = promisedBy(host);
      if (!isFree(d) || d.generation === 0) continue;
      // Promised to itself alone, and never opened: it binds nobody else.
      if (d.owner === host.role && (!host.agentUp || !host.state.everFree)) continue;
      if (free === null || d.generation > free.generation) free = d;
    }
    for (const host of [source, target, escrow]) {
      const d = host.state.opened;
      if (isFree(d) && d.generation > 0 && (free === null || d.generation > free.generation)) free = d;
    }
    const overtaken =
      free?.mode === "unprotected" && promisedBy(escrow).generation > free.generation && valid(promisedBy(escrow));
    if (free !== null && !overtaken) {
      const owner = this.#hosts[free.owner];
      if (owner.vm === null || !owner.agentUp) return false;
      if (isOwner(owner.state) && isFree(owner.state.opened)) return this.#pagesOk(owner.role);
      return (owner.role === "target" ? st || te : st || se) && this.#pagesOk(owner.role);
    }
    if (target.agentUp && target.vm !== null && (st || te)) return this.#pagesOk("target");
    if (se && source.hasBase) {
      const last = escrow.log[escrow.log.length - 1];
      return valid(promisedBy(escrow)) && (last !== undefined || source.package !== null);
    }
    if (te && !se && !st && this.#pagesEscrow === 0 && escrow.log.length > 0) return valid(promisedBy(escrow));
    return false;
  }

  #pagesOk(role: Role): boolean {
    if (role !== "target" || this.#pagesTarget >= PAGES) return true;
    const { hasBase } = this.#hosts.source;
    if (hasBase && this.#canTalk("source", "target")) return true;
    if (!this.#canTalk("escrow", "target")) return false;
    return (hasBase && this.#canTalk("source", "escrow")) || this.#pagesTarget >= this.#pagesEscrow;
  }
}

function logState(header: RecordHeader): LogState {
  return { last: header.n, generation: header.generation, mark: header.mark, acked: header.acked };
}

function cutKeys(pair: Pair, direction: "both" | "forward" | "backward"): readonly number[] {
  const [a, b] = pair.split("-") as [Role, Role];
  if (direction === "forward") return [linkIndex(a, b)];
  if (direction === "backward") return [linkIndex(b, a)];
  return [linkIndex(a, b), linkIndex(b, a)];
}

function linkIndex(from: Role, to: Role): number {
  return indexOf(from) * 3 + indexOf(to);
}

function indexOf(role: Role): number {
  return role === "source" ? 0 : role === "target" ? 1 : 2;
}

function isPing(message: Message): boolean {
  return message.kind === "ping" || message.kind === "pong";
}

function isHeartbeat(body: EventBody): boolean {
  return body.kind === "message" && isPing(body.message);
}

function describe(body: object): string {
  return JSON.stringify(body);
}
