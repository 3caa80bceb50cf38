import {
  type Action,
  type AgentState,
  type Durable,
  frameNumber,
  GENESIS,
  type HostMemory,
  initialState,
  type LogState,
  ownOpened,
  type Role,
  type Rules,
} from "../core/index.ts";
import type { Cluster } from "./cluster.ts";
import { type Memory, PAGES, PageTable } from "./memory.ts";
import type { Snapshot } from "./oracle.ts";
import type { Random } from "./random.ts";
import type { Schedule } from "./schedule.ts";
import { type Body, cutLog, type StoredRecord } from "./storage.ts";

type TakeTransaction = Extract<Action, { kind: "takeTransaction" }>;

/** What an agent's clock says when it comes up again. */
const UP_MS = 40;
const NERVOUS = { lease_ms: 45, heartbeat_ms: 30, epoch_ms: 60 } as const;
export const TIMING = { lease_ms: 500, heartbeat_ms: 150, epoch_ms: 120 } as const;

export interface Vm {
  hash: number;
  frames: number[];
  readonly memory: Memory;
  /** Which of its pages changed since when. */
  table: PageTable;
  running: boolean;
  /** Stands still for a transaction that is being taken. */
  still: boolean;
  /** It was restored and has not been heard to run: its mark. */
  restoredMark: number | null;
  /** The base that its table tells changes since. */
  relativeTo: number;
}

/** One machine: an agent that may die and come back, a QEMU, memory that a loss of power takes away, and a disk. */
export interface Host {
  readonly role: Role;
  up: boolean;
  agentUp: boolean;
  everBack: boolean;
  /** Escrow: its key, where it came in another one's place. */
  key: string | null;
  /** Nothing was ever started here. */
  fresh: boolean;
  /** The last frame that this life of its agent has let out. */
  letOut: number;
  /** Counts the agent's lives: what was meant for an earlier one is lost. */
  life: number;
  /** Counts the QEMUs of this host. */
  qemu: number;
  /** Its QEMU was killed, and the agent has not noticed yet. */
  dying: boolean;
  /** Escrow: records that were safe on its disk are gone, and no agent has come up since. */
  lostSynced: boolean;
  frozenUntil_ms: number;
  /** Its agent's thread of control has no processor, or other work, until then. */
  stalledUntil_ms: number;
  /** The transaction that is being taken, and the one that waits for its end. */
  taking: TakeTransaction | null;
  takeNext: TakeTransaction | null;
  memoryKept: boolean;
  /** Its memory was lost at some time: whether a VM ran here before is not known. */
  forgot: boolean;
  /** A VM that was restored here was heard to run. */
  heardRunning: boolean;
  state: AgentState;
  durable: Durable | null;
  writing: Durable | null;
  vm: Vm | null;
  /** Frames that the agent holds; they outlive their QEMU, not their host. */
  frames: readonly number[];
  package: Snapshot | null;
  /** The base that the VM's records were relative to, that it is of. */
  packageOf: number;
  /** Target: the package that came last. */
  arrived: Snapshot | null;
  hasBase: boolean;
  /** Which one that is, of all that there were. */
  baseId: number;
  committed: number | null;
  acked: number;
  log: StoredRecord[];
  /** Escrow: the migration is over, base and log are gone for good. */
  finished: boolean;
  /** Escrow: what base and log give. */
  fold: Memory | null;
  bodies: Map<number, Body>;
  readonly clockRate: number;
  /** An agent's clock begins with its life. */
  clockOffset_ms: number;
}

export function makeHost(role: Role, schedule: Schedule, rules: Rules, random: Random): Host {
  return {
    role,
    up: true,
    agentUp: false,
    everBack: true,
    key: null,
    fresh: true,
    letOut: 0,
    life: 0,
    qemu: 0,
    dying: false,
    lostSynced: false,
    frozenUntil_ms: 0,
    stalledUntil_ms: 0,
    taking: null,
    takeNext: null,
    memoryKept: true,
    forgot: false,
    heardRunning: false,
    state: initialState({
      role,
      ...(schedule.nervous ? NERVOUS : TIMING),
      durability: schedule.durability,
      logSync: schedule.logSync,
      protect: schedule.protect?.always === true ? "always" : "until-handoff",
      unprotected: schedule.protect?.unprotected ?? "go",
      // Half of the VMs have disks.
      settles: schedule.seed % 2 === 1,
      rules,
    }),
    durable: null,
    writing: null,
    vm: role === "source" ? bootVm() : null,
    frames: [],
    package: null,
    packageOf: 0,
    arrived: null,
    hasBase: role === "source",
    baseId: 0,
    committed: -1,
    acked: 0,
    log: [],
    finished: false,
    fold: null,
    bodies: new Map(),
    clockRate: 1 + (random.real() - 0.5) * 0.1,
    clockOffset_ms: random.int(0, 20_000),
  };
}

export function bootVm(): Vm {
  const memory = new Int32Array(PAGES);
  return {
    hash: 1,
    frames: [],
    memory,
    table: new PageTable(),
    running: true,
    still: false,
    restoredMark: null,
    relativeTo: 0,
  };
}

/** The VM as a snapshot has it, standing still. */
export function vmOf(from: Snapshot): Vm {
  return { ...bootVm(), hash: from.hash, frames: from.frames.slice(), memory: from.memory.slice(), running: false };
}

export function snapshotOf(vm: Pick<Vm, "hash" | "frames" | "memory">): Snapshot {
  return { hash: vm.hash, frames: vm.frames.slice(), memory: vm.memory.slice() };
}

export function startAgent(cluster: Cluster, host: Host): void {
  if (!host.up || host.agentUp) return;
  const { oracle, vm, schedule } = cluster;
  host.agentUp = true;
  host.life += 1;
  host.lostSynced = false;
  host.letOut = 0;
  cluster.lives += 1;
  if (host.life > 1) host.clockOffset_ms = UP_MS - cluster.now_ms * host.clockRate;
  const first = host.fresh;
  host.fresh = false;
  const last = host.log[host.log.length - 1];
  const log: LogState | null = last === undefined ? null : logState(last.header);
  let memory: HostMemory | null = null;
  if (!first && host.memoryKept) memory = memoryOf(host, vm.pagesTarget >= PAGES);
  host.memoryKept = true;
  if (!first && host.durable === null && host.key === null) host.durable = { descriptor: GENESIS, opened: false };
  cluster.event(host.role, {
    kind: "started",
    incarnation: cluster.lives,
    durable: first ? null : host.durable,
    memory,
    log,
  });
  if (first) return;
  cluster.event(host.role, { kind: "edgeConnected", upTo: frameNumber(oracle.edgeCount) });
  if (
    host.role !== "escrow" &&
    cluster.faults.untrackable &&
    schedule.protect !== undefined &&
    host.role === "source"
  ) {
    cluster.event("source", { kind: "untrackable", why: "the tracker does not open" });
  }
  if (host.role === "target") {
    if (cluster.faults.untrackable) cluster.event("target", { kind: "untrackable", why: "the tracker does not open" });
    if (vm.covered) cluster.event("target", { kind: "baseCovered", covered: true });
  } else if (host.role === "escrow" && vm.pagesEscrow === 0) {
    cluster.event("escrow", { kind: "baseComplete", complete: true });
  }
}

/** A host that was never any part of it has the escrow's place; what the one before had is nowhere. */
export function makeAnother(cluster: Cluster, escrow: Host): void {
  loseMemory(cluster, escrow);
  cutLog(cluster, escrow, 0);
  escrow.key = `another-${cluster.lives}`;
  escrow.fresh = true;
  escrow.everBack = true;
  escrow.durable = null;
  escrow.finished = false;
  escrow.memoryKept = true;
  escrow.forgot = false;
  escrow.state = initialState({ ...escrow.state.config, joins: true });
}

/** What of a host outlives its agent, in its memory and on its disk. */
export interface Remains {
  readonly role: Role;
  readonly durable: Durable | null;
  readonly state: AgentState;
  readonly committed: number | null;
  readonly acked: number;
  readonly hasBase: boolean;
  readonly package: Snapshot | null;
  vm: Vm | null;
  heardRunning: boolean;
}

/** What a restarted agent finds: its QEMU if it runs, or stands ready; a half-made one is removed. */
export function memoryOf(host: Remains, hasAllPages: boolean): HostMemory {
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
  } else if (host.role === "source" && state.vm === "running") {
    // It may stand still for its last transaction here: nothing was promised, it goes on.
    vm.running = true;
    found = "running";
  } else {
    // One that stood ready may have been told to run: its agent has to hear so from it.
    found = state.vm !== "ready" && vm.running ? "running" : "ready";
  }
  if (found === "running") heardRunning(host);
  if (host.role === "source" && found === "gone") found = "none";
  if (host.role === "target" && state.vm === "incoming") found = "gone";
  return {
    vm: found,
    produced: frameNumber(host.vm?.frames.length ?? 0),
    acked: frameNumber(Math.min(host.acked, host.vm?.frames.length ?? 0)),
    committed: host.committed,
    hasBase: host.role === "escrow" ? state.hasBase : host.hasBase,
    hasPackage: host.package !== null,
    restored: state.restored,
    contained: state.gate.committed,
    everFree: state.everFree,
    ranFree: state.ranFree,
    opened: ownOpened(state),
    leftAt: state.leftAt,
    protect: state.protect,
    base: state.base,
    log: state.log,
    logLost: state.logLost,
    allPages: host.role === "target" && host.vm !== null && (state.allPages || hasAllPages),
  };
}

export function crashAgent(cluster: Cluster, host: Host): void {
  endAgent(host, host.writing !== null && cluster.random.chance(0.5));
}

/** The agent is gone. `written`: what it was writing to its disk is there. */
export function endAgent(
  host: Omit<Remains, "durable"> & Pick<Host, "agentUp" | "life" | "durable" | "writing" | "taking" | "takeNext">,
  written: boolean,
): void {
  host.agentUp = false;
  host.life += 1;
  host.taking = null;
  host.takeNext = null;
  // A VM that stood still for a transaction goes on when the agent is back.
  if (host.vm !== null) host.vm.still = false;
  // A write under way may have reached the disk or not.
  if (host.writing !== null && written) host.durable = host.writing;
  host.writing = null;
  const { vm, state } = host;
  // QEMU outlives the agent, but not in the fatal window, and not half restored.
  if (vm !== null && !vm.running && state.vm !== "ready" && !(host.role === "source" && state.vm === "running")) {
    if (state.promised.generation > 0 && (host.durable?.descriptor.generation ?? 0) > 0) host.vm = null;
  }
  if (state.vm === "loading") host.vm = null;
}

export function loseMemory(cluster: Cluster, host: Host): void {
  if (host.agentUp) crashAgent(cluster, host);
  host.vm = null;
  host.qemu += 1;
  host.package = host.role === "source" ? null : host.package;
  host.hasBase = false;
  host.memoryKept = false;
  host.forgot = true;
  host.committed = null;
  host.acked = 0;
  host.bodies.clear();
  if (host.role === "escrow") {
    cluster.vm.forgetCopy();
    const synced = host.log.filter((record) => record.synced).length;
    cutLog(cluster, host, cluster.random.int(synced, host.log.length));
  }
}

/** The agent knows that its VM runs. */
export function heardRunning(host: Pick<Host, "vm" | "heardRunning">): void {
  if (host.vm === null || host.vm.restoredMark === null) return;
  host.vm.restoredMark = null;
  host.heardRunning = true;
}

export function clockOf(host: Host, now_ms: number): number {
  return host.clockOffset_ms + now_ms * host.clockRate;
}

export function logState(header: StoredRecord["header"]): LogState {
  return { last: header.n, generation: header.generation, mark: header.mark, acked: header.acked };
}
