import type { Action } from "../core/index.ts";
import {
  type AgentState,
  ALL_RULES,
  type Durable,
  type FrameNumber,
  initialState,
  type Message,
  type RecordHeader,
  type Role,
  type Rules,
} from "../core/index.ts";
import type { Vm } from "../sim/hosts.ts";
import { type Memory, PageTable } from "../sim/memory.ts";
import { type Model, TODAY } from "../sim/model.ts";
import { Oracle, type Snapshot } from "../sim/oracle.ts";
import type { Pair } from "../sim/schedule.ts";
import type { Body, StoredRecord } from "../sim/storage.ts";

/**
 * The world that is searched: three hosts, what is under way between and in them, and one VM. Unlike the simulator's it
 * is plain data without a queue of closures, so that it can be kept, compared, and gone on from in more than one way.
 *
 * There is no common time. Every agent has a clock of its own, which moves by a heartbeat when its timer fires; that it
 * fires before another agent's is a choice as any other. A lease is one heartbeat long: two without an answer are silence.
 */
export const BEAT_MS = 100;
const TIMING = { lease_ms: BEAT_MS, heartbeat_ms: BEAT_MS, epoch_ms: BEAT_MS } as const;
/** What an agent's first clock says; a later one begins again below it. */
const BORN_MS = 10 * BEAT_MS;

/** Pages of the VM: enough for one that changed before, one that changed since, and one that never did. */
export const PAGES = 3;

/** What is searched from: how the agents are set up, and how the shells are built. */
export interface Setup {
  readonly name: string;
  readonly rules: Rules;
  readonly model: Model;
  readonly durability: "host" | "process";
  readonly logSync: "memory" | "disk";
  /** Whether all pages arrive at the target, so that protection ends with the handoff. */
  readonly drains: boolean;
  /** So often the guest does something by itself. */
  readonly work: number;
}

export const SETUPS: readonly Setup[] = [
  { durability: "process", logSync: "disk", drains: false },
  { durability: "process", logSync: "disk", drains: true },
  { durability: "host", logSync: "memory", drains: true },
].map(({ durability, logSync, drains }) => ({
  name: `${drains ? "until handoff" : "pages never all there"}, durability ${durability}, log in ${logSync}`,
  rules: ALL_RULES,
  model: TODAY,
  durability: durability as "host" | "process",
  logSync: logSync as "memory" | "disk",
  drains,
  work: 3,
}));

export interface SearchHost {
  readonly role: Role;
  up: boolean;
  /** It never comes back. */
  dead: boolean;
  agentUp: boolean;
  /** Counts the agent's lives over all hosts: the incarnation. */
  life: number;
  /** Counts the QEMUs of this host. */
  qemu: number;
  frozen: boolean;
  state: AgentState;
  durable: Durable | null;
  writing: Durable | null;
  vm: Vm | null;
  frames: readonly number[];
  package: Snapshot | null;
  hasBase: boolean;
  baseId: number;
  committed: number | null;
  acked: number;
  log: readonly StoredRecord[];
  fold: Memory | null;
  bodies: readonly Body[];
  finished: boolean;
  memoryKept: boolean;
  heardRunning: boolean;
  taking: Extract<Action, { kind: "takeTransaction" }> | null;
  takeNext: Extract<Action, { kind: "takeTransaction" }> | null;
}

/** Something under way: a message between agents, or what a shell does and will tell its agent of. */
export type Pending = { readonly held: boolean } & (
  | {
      readonly kind: "message";
      readonly from: Role;
      readonly role: Role;
      readonly message: Message;
      readonly body: Body | null;
    }
  | { readonly kind: "persist"; readonly role: Role }
  | { readonly kind: "capture"; readonly role: "source" }
  | { readonly kind: "load"; readonly role: "target" }
  | { readonly kind: "take"; readonly role: Role }
  | { readonly kind: "store"; readonly role: "escrow"; readonly header: RecordHeader }
  | { readonly kind: "restore"; readonly role: Role; readonly action: Extract<Action, { kind: "startRestore" }> }
  | { readonly kind: "ran"; readonly role: Role }
  /** Frames in the socket to the receiving edge. */
  | { readonly kind: "out"; readonly role: Role; readonly from: FrameNumber; readonly frames: readonly number[] }
  /** The edge's answer. */
  | { readonly kind: "ack"; readonly role: Role; readonly upTo: FrameNumber; readonly gap: boolean }
  /** Its QEMU is dead, and the agent has not noticed yet. */
  | { readonly kind: "gone"; readonly role: Role }
);

/** `calm`: it goes its way. `mended`: whatever could end has ended. `proving`: the VM has to show that it runs. */
export type Stage = "calm" | "mended" | "proving" | "over";

export interface World {
  readonly setup: Setup;
  hosts: Record<Role, SearchHost>;
  /** In the order in which it was begun. */
  pending: Pending[];
  /** Directions that are dead, as bits of `linkBit`. */
  cut: number;
  /** Whose timer fires next when nothing else happens; 3: the guest works and pages move. */
  turn: number;
  pagesTarget: number;
  /** Pages that the escrow's copy of the base lacks. */
  pagesEscrow: number;
  covered: boolean;
  base: Memory | null;
  oracle: Oracle;
  workLeft: number;
  writes: number;
  framesEver: number;
  edgeFresh: number;
  lives: number;
  stage: Stage;
  /** Frames that were emitted before the VM had to show that it runs. */
  provenFrom: number;
  diskFull: boolean;
  untrackable: boolean;
  runsFail: boolean;
  /** Faults that have struck. */
  faults: number;
  /** The only thing that happened is one cut link, and the target's VM was running when it came. */
  onlyCut: boolean;
  reported: number;
}

const ROLE_INDEX: Readonly<Record<Role, number>> = { source: 0, target: 1, escrow: 2 };

export function linkBit(from: Role, to: Role): number {
  return 1 << (ROLE_INDEX[from] * 3 + ROLE_INDEX[to]);
}

export function linkBits(pair: Pair, direction: "both" | "forward" | "backward"): number {
  const [a, b] = pair.split("-") as [Role, Role];
  const forward = direction === "backward" ? 0 : linkBit(a, b);
  return forward | (direction === "forward" ? 0 : linkBit(b, a));
}

function newHost(role: Role, { rules, durability, logSync }: Setup): SearchHost {
  const memory = new Int32Array(PAGES);
  const vm: Vm = {
    hash: 1,
    frames: [],
    memory,
    table: new PageTable(PAGES),
    running: true,
    still: false,
    restoredMark: null,
    relativeTo: 0,
  };
  const config = { role, ...TIMING, durability, logSync, protect: "until-handoff", unprotected: "go", rules } as const;
  return {
    role,
    up: true,
    dead: false,
    agentUp: false,
    life: 0,
    qemu: 0,
    frozen: false,
    state: { ...initialState(config), now_ms: BORN_MS },
    durable: null,
    writing: null,
    vm: role === "source" ? vm : null,
    frames: [],
    package: null,
    hasBase: role === "source",
    baseId: 0,
    committed: -1,
    acked: 0,
    log: [],
    fold: null,
    bodies: [],
    finished: false,
    memoryKept: true,
    heardRunning: false,
    taking: null,
    takeNext: null,
  };
}

export function newWorld(setup: Setup): World {
  const make = (role: Role): SearchHost => newHost(role, setup);
  return {
    setup,
    hosts: { source: make("source"), target: make("target"), escrow: make("escrow") },
    pending: [],
    cut: 0,
    turn: 0,
    pagesTarget: 0,
    pagesEscrow: PAGES,
    covered: false,
    base: null,
    oracle: new Oracle(),
    workLeft: setup.work,
    writes: 0,
    framesEver: 0,
    edgeFresh: 0,
    lives: 0,
    stage: "calm",
    provenFrom: 0,
    diskFull: false,
    untrackable: false,
    runsFail: false,
    faults: 0,
    onlyCut: false,
    reported: 0,
  };
}

/** Another world that is the same until something happens in it. What lies deeper is replaced, never changed. */
export function fork(world: World): World {
  const { source, target, escrow } = world.hosts;
  const copy = (host: SearchHost): SearchHost => ({ ...host, vm: host.vm === null ? null : { ...host.vm } });
  return {
    ...world,
    hosts: { source: copy(source), target: copy(target), escrow: copy(escrow) },
    pending: world.pending.slice(),
    oracle: world.oracle,
  };
}

export function pathOk(world: World, from: Role, to: Role): boolean {
  return (world.cut & linkBit(from, to)) === 0;
}

export function canTalk(world: World, a: Role, b: Role): boolean {
  const up = (role: Role): boolean => world.hosts[role].up && world.hosts[role].agentUp;
  return up(a) && up(b) && pathOk(world, a, b) && pathOk(world, b, a);
}
