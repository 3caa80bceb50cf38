import { isOwner, type Role } from "../core/index.ts";
import { mustBeLive } from "../sim/liveness.ts";
import { PAGES as WHOLE } from "../sim/memory.ts";
import { isSabotaged } from "../sim/model.ts";
import { Violation } from "../sim/oracle.ts";
import { PAIRS, type Pair, ROLES } from "../sim/schedule.ts";
import {
  ackEnds,
  captureEnds,
  crash,
  cutLog,
  happen,
  isAble,
  killQemu,
  loadEnds,
  losePower,
  movePages,
  outEnds,
  ranEnds,
  restoreEnds,
  start,
  stop,
  storeEnds,
  takeEnds,
  work,
} from "./shell.ts";
import {
  canTalk,
  fork,
  linkBits,
  newWorld,
  PAGES,
  type Pending,
  pathOk,
  type SearchHost,
  type Setup,
  type World,
} from "./world.ts";

type Direction = "both" | "forward" | "backward";

/** One thing that may happen next. Numbers are places in what is under way. */
export type Move =
  | { readonly move: "next"; readonly at: number }
  | { readonly move: "beat"; readonly role: Role }
  /** The guest works, pages move. */
  | { readonly move: "tick" }
  /** It has come to rest: what can end ends, then the VM has to show that it runs, then that is judged. */
  | { readonly move: "rest" }
  // ---- otherwise than in order
  | { readonly move: "hold" | "repeat" | "release"; readonly at: number }
  | { readonly move: "work"; readonly role: Role }
  | { readonly move: "back" | "thaw"; readonly role: Role }
  | { readonly move: "heal" | "disk" | "track" | "run" }
  // ---- faults
  | { readonly move: "cut"; readonly pair: Pair; readonly direction: Direction }
  | { readonly move: "lose" | "fail"; readonly at: number }
  | { readonly move: "crash" | "reboot"; readonly role: Role; readonly kept: boolean; readonly back: boolean }
  | { readonly move: "kill" | "freeze" | "qemu"; readonly role: Role }
  | { readonly move: "tail" | "full" | "untrack" | "runless" };

const FAULTS: ReadonlySet<Move["move"]> = new Set([
  "cut",
  "lose",
  "fail",
  "crash",
  "reboot",
  "kill",
  "freeze",
  "qemu",
  "tail",
  "full",
  "untrack",
  "runless",
]);

/** What also happens by itself. */
const ORDINARY: ReadonlySet<Move["move"]> = new Set(["next", "beat", "tick", "rest"]);

export function isFault({ move }: Move): boolean {
  return FAULTS.has(move);
}

/** The three agents come up, and the source is asked to migrate. */
export function begin(setup: Setup): World {
  const world = newWorld(setup);
  for (const role of ROLES) start(world, role);
  happen(world, "source", { kind: "migrate" });
  return world;
}

/** What happens when nothing is out of order: what is under way first, then the timers in turn. `null`: it is over. */
export function ordinary(world: World): Move | null {
  if (world.stage === "over") return null;
  const at = world.pending.findIndex((pending) => !pending.held && isAble(world, pending));
  if (at >= 0) return { move: "next", at };
  const role = ROLES[world.turn];
  return role === undefined ? { move: "tick" } : { move: "beat", role };
}

/** Everything else that may happen instead, in an order that is always the same. */
export function others(world: World, faults: boolean): Move[] {
  if (world.stage === "over") return [];
  const moves: Move[] = [];
  const { hosts, pending } = world;
  const first = pending.findIndex((p) => !p.held && isAble(world, p));
  for (const [at, p] of pending.entries()) {
    if (p.held) moves.push({ move: "release", at });
    else {
      if (at !== first && isAble(world, p)) moves.push({ move: "next", at });
      if (p.kind !== "out" && p.kind !== "ack") moves.push({ move: "hold", at });
      if (p.kind === "message") moves.push({ move: "repeat", at });
    }
  }
  for (const role of ROLES) {
    const { agentUp, dead, frozen, vm } = hosts[role];
    if (agentUp && !frozen && (first >= 0 || ROLES[world.turn] !== role)) moves.push({ move: "beat", role });
    if (agentUp && !frozen && vm?.running === true && !vm.still && world.workLeft > 0)
      moves.push({ move: "work", role });
    if (frozen) moves.push({ move: "thaw", role });
    if (!agentUp && !dead && !frozen) moves.push({ move: "back", role });
  }
  if (world.cut !== 0) moves.push({ move: "heal" });
  if (world.diskFull) moves.push({ move: "disk" });
  if (world.untrackable) moves.push({ move: "track" });
  if (world.runsFail) moves.push({ move: "run" });
  if (faults) addFaults(world, moves);
  return moves;
}

function addFaults(world: World, moves: Move[]): void {
  const { hosts, pending } = world;
  for (const pair of PAIRS) {
    for (const direction of ["both", "forward", "backward"] as const) {
      if ((world.cut & linkBits(pair, direction)) === 0) moves.push({ move: "cut", pair, direction });
    }
  }
  for (const role of ROLES) {
    const host = hosts[role];
    if (!host.up) continue;
    moves.push({ move: "kill", role });
    for (const back of [false, true]) {
      for (const kept of [false, true]) {
        if (host.agentUp && !host.frozen && (!kept || host.writing !== null))
          moves.push({ move: "crash", role, kept, back });
        if (!kept || hasOnTheWay(world, host)) moves.push({ move: "reboot", role, kept, back });
      }
    }
    if (!host.frozen) moves.push({ move: "freeze", role });
    const killable = host.vm !== null || host.state.vm === "incoming" || host.state.vm === "loading";
    if (role !== "escrow" && killable) moves.push({ move: "qemu", role });
  }
  for (const [at, p] of pending.entries()) {
    if (p.held) continue;
    if (p.kind === "message") moves.push({ move: "lose", at });
    if (p.kind === "take" || p.kind === "capture" || p.kind === "restore") moves.push({ move: "fail", at });
  }
  if (hosts.escrow.agentUp && !hosts.escrow.frozen && hosts.escrow.log.length > 0) moves.push({ move: "tail" });
  if (!world.diskFull) moves.push({ move: "full" });
  if (!world.untrackable) moves.push({ move: "untrack" });
  if (!world.runsFail) moves.push({ move: "runless" });
}

function hasOnTheWay({ pending }: World, { role, writing }: SearchHost): boolean {
  return (
    writing !== null ||
    pending.some((p) => (p.kind === "out" ? p.role === role : p.kind === "message" && p.from === role))
  );
}

/** The world after the move. @throws Violation, InvariantError */
export function after(before: World, move: Move): World {
  const world = fork(before);
  const ordinaryBeat = move.move === "beat" && ROLES[world.turn] === move.role;
  if (ordinaryBeat || move.move === "tick") world.turn = (world.turn + 1) % 4;
  if (isFault(move)) world.faults += 1;
  if (!ORDINARY.has(move.move)) {
    world.onlyCut = false;
    // What the VM had to show it has to show again.
    world.stage = "calm";
  }
  perform(world, move);
  return world;
}

function perform(world: World, move: Move): void {
  const { hosts } = world;
  switch (move.move) {
    case "next":
    case "release":
      done(world, move.at);
      return;
    case "hold":
      world.pending[move.at] = { ...at(world, move.at), held: true };
      return;
    case "repeat": {
      const pending = at(world, move.at);
      done(world, move.at);
      // The other copy comes late.
      world.pending.push({ ...pending, held: true });
      return;
    }
    case "lose":
      world.pending.splice(move.at, 1);
      return;
    case "fail":
      fail(world, move.at);
      return;
    case "beat":
      beat(world, move.role);
      return;
    case "tick":
      tick(world);
      return;
    case "rest":
      rest(world);
      return;
    case "work":
      world.workLeft -= 1;
      work(world, hosts[move.role]);
      return;
    case "thaw":
      hosts[move.role].frozen = false;
      return;
    case "back":
      start(world, move.role);
      return;
    case "heal":
      world.cut = 0;
      return;
    case "disk":
      world.diskFull = false;
      return;
    case "track":
      track(world);
      return;
    case "run":
      world.runsFail = false;
      return;
    case "cut":
      world.onlyCut = world.faults === 1 && hosts.target.state.vm === "running";
      world.cut |= linkBits(move.pair, move.direction);
      stop(world, (p) => p.kind === "message" && !p.held && !pathOk(world, p.from, p.role));
      return;
    case "crash":
      crash(world, hosts[move.role], move.kept);
      if (move.back) start(world, move.role);
      return;
    case "reboot":
      losePower(world, hosts[move.role], move.kept);
      if (move.back) start(world, move.role);
      return;
    case "kill": {
      const host = hosts[move.role];
      losePower(world, host, false);
      host.dead = true;
      return;
    }
    case "freeze":
      hosts[move.role].frozen = true;
      return;
    case "qemu":
      killQemu(world, hosts[move.role]);
      return;
    case "tail":
      crash(world, hosts.escrow, false);
      cutLog(world, hosts.escrow, hosts.escrow.log.length - 1);
      start(world, "escrow");
      return;
    case "full":
      world.diskFull = true;
      return;
    case "untrack":
      world.untrackable = true;
      happen(world, "target", { kind: "untrackable", why: "the tracker does not open" });
      return;
    case "runless":
      world.runsFail = true;
      return;
  }
}

function at({ pending }: World, index: number): Pending {
  const found = pending[index];
  if (found === undefined) throw new Error("nothing is under way there");
  return found;
}

/** What was under way comes to its end. */
function done(world: World, index: number): void {
  const pending = at(world, index);
  world.pending.splice(index, 1);
  const host = world.hosts[pending.role];
  switch (pending.kind) {
    case "message": {
      const { from, role, message, body } = pending;
      if (!host.agentUp) return;
      if (body !== null && message.kind === "append") {
        host.bodies = [
          ...host.bodies.filter(
            ({ header }) => header.n !== body.header.n || header.generation !== body.header.generation,
          ),
          body,
        ];
      }
      happen(world, role, { kind: "message", from, message });
      return;
    }
    case "persist": {
      const { writing } = host;
      if (writing === null) return;
      host.durable = writing;
      host.writing = null;
      happen(world, host.role, { kind: "promisePersisted", generation: writing.descriptor.generation });
      return;
    }
    case "capture":
      captureEnds(world, host);
      return;
    case "load":
      loadEnds(world, host);
      return;
    case "take":
      takeEnds(world, host, false);
      return;
    case "store":
      storeEnds(world, host, pending);
      return;
    case "restore":
      restoreEnds(world, host, pending);
      return;
    case "ran":
      ranEnds(world, host);
      return;
    case "out":
      outEnds(world, pending);
      return;
    case "ack":
      ackEnds(world, pending);
      return;
    case "gone":
      happen(world, host.role, { kind: "qemuGone" });
      return;
  }
}

function fail(world: World, index: number): void {
  const pending = at(world, index);
  world.pending.splice(index, 1);
  const host = world.hosts[pending.role];
  if (pending.kind === "take") takeEnds(world, host, true);
  else if (pending.kind === "capture") {
    happen(world, "source", { kind: "migrationFailed" });
    happen(world, "source", { kind: "migrate" });
  } else if (pending.kind === "restore") {
    happen(world, host.role, { kind: "restoreFailed", generation: pending.action.generation });
  }
}

/** A heartbeat of its clock, and the epoch that ends with it. */
function beat(world: World, role: Role): void {
  const host = world.hosts[role];
  if (!host.agentUp || host.frozen) return;
  happen(world, role, { kind: "timer", timer: "heartbeat" }, 1);
  if (host.agentUp && host.state.ticking && hasToTake(world, host))
    happen(world, role, { kind: "timer", timer: "epoch" });
}

/** Transactions of a VM that does nothing are left out: they would go on for ever, and change nothing but numbers. */
function hasToTake({ workLeft }: World, { state }: SearchHost): boolean {
  const { gate, opened, tx } = state;
  return workLeft > 0 || gate.produced > gate.committed || tx.protectedIn !== opened.generation;
}

function tick(world: World): void {
  movePages(world);
  if (world.workLeft === 0) return;
  let worked = false;
  for (const role of ["source", "target"] as const) {
    const host = world.hosts[role];
    if (host.vm === null || !host.vm.running || host.vm.still || !host.agentUp || host.frozen) continue;
    worked = true;
    work(world, host);
  }
  if (worked) world.workLeft -= 1;
}

function track(world: World): void {
  world.untrackable = false;
  happen(world, "target", { kind: "trackable" });
}

function rest(world: World): void {
  if (mend(world)) {
    world.stage = "mended";
    return;
  }
  if (world.stage !== "proving") {
    world.stage = "proving";
    world.provenFrom = world.framesEver;
    world.workLeft = 1;
    return;
  }
  world.stage = "over";
  judge(world);
}

/** Whatever can end ends. Whether there was anything. */
function mend(world: World): boolean {
  const { hosts, pending } = world;
  const late = pending.some(({ held }) => held);
  // That nobody can say which pages change may be so for good.
  let any = world.cut !== 0 || world.diskFull || world.runsFail || late;
  world.cut = 0;
  world.diskFull = false;
  world.runsFail = false;
  world.pending = pending.map((p) => (p.held ? { ...p, held: false } : p));
  for (const role of ROLES) {
    const host = hosts[role];
    if (host.frozen) any = true;
    host.frozen = false;
    if (host.agentUp || host.dead) continue;
    any = true;
    start(world, role);
  }
  return any;
}

/** Liveness at a fair end: nothing is broken any more but hosts that are gone, and nothing moves. */
function judge(world: World): void {
  const { hosts, setup } = world;
  const { source, target, escrow } = hosts;
  if (isSabotaged(setup.model)) return;
  const live = world.edgeFresh > world.provenFrom;
  const hasBase = (host: Pick<SearchHost, "role" | "up" | "hasBase">): boolean =>
    host.up && host.role === "source" && host.hasBase;
  const must = mustBeLive({
    hosts,
    network: { canTalk: (a, b) => canTalk(world, a, b) },
    vm: {
      baseId: 0,
      drains: true,
      willFollow: true,
      pagesTarget: world.pagesTarget >= PAGES ? WHOLE : world.pagesTarget,
      pagesEscrow: world.pagesEscrow,
      hasBase,
    },
    schedule: {},
  });
  if (must && !live) throw new Violation(4, "two hosts live and can talk, but the VM does not run again");
  const runs = target.vm?.running === true && target.state.vm === "running" && !target.state.allPages;
  const latest = [escrow, source].every(({ state }) => {
    const d = state.promised;
    return d.generation <= target.state.promised.generation || d.owner === "target";
  });
  const wanted = runs && latest && target.state.opened.mode !== "final" && canTalk(world, "target", "escrow");
  if (!wanted || !must || world.untrackable) return;
  const last = escrow.log[escrow.log.length - 1]?.header.generation;
  const on =
    isOwner(target.state) && target.state.opened.mode === "protected" && last === target.state.opened.generation;
  if (!on) throw new Violation(4, "nothing is in the way of it, and protection is not back");
}
