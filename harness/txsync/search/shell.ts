import {
  type Action,
  type AgentEvent,
  type EventBody,
  frameNumber,
  GENESIS,
  type Report,
  type Role,
  step,
} from "../core/index.ts";
import { endAgent, heardRunning, logState, memoryOf, snapshotOf } from "../sim/hosts.ts";
import { apply, PageTable, sameMemory } from "../sim/memory.ts";
import { isSabotaged } from "../sim/model.ts";
import { Violation } from "../sim/oracle.ts";
import { mayLetOut, mayPromise, mayStand, mayWork } from "../sim/sealed.ts";
import { type Body, foldOf, foldWith, keyOf } from "../sim/storage.ts";
import { saysTheSame } from "./fingerprint.ts";
import { BEAT_MS, canTalk, PAGES, type Pending, pathOk, type SearchHost, type World } from "./world.ts";

/** What an agent's clock says when it comes up again. */
const UP_MS = 40;

type Take = Extract<Action, { kind: "takeTransaction" }>;
interface Happening {
  readonly role: Role;
  readonly body: EventBody;
}

/** The oracle of this world, about to be told something. */
function oracleOf(world: World): World["oracle"] {
  world.oracle = world.oracle.copy();
  return world.oracle;
}

/**
 * Something happens to an agent, and what follows from it at once: its core's actions, and heartbeats, whose question and
 * answer are one thing here. That they are slow or lost is a cut link, a host that stands still, or a timer that is early.
 */
export function happen(world: World, role: Role, body: EventBody, beats = 0): void {
  const todo: Happening[] = [{ role, body }];
  for (let i = 0; i < todo.length; i += 1) {
    const next = todo[i];
    if (next !== undefined) stepOf(world, next, i === 0 ? beats : 0, todo);
    if (i > 200) throw new Violation(4, "the agents answer each other without an end");
  }
}

function stepOf(world: World, { role, body }: Happening, beats: number, todo: Happening[]): void {
  const host = world.hosts[role];
  if (!host.up || !host.agentUp || host.frozen) return;
  if (body.kind === "vmRunning") heardRunning(host);
  const now_ms = body.kind === "started" ? UP_MS : host.state.now_ms + beats * BEAT_MS;
  const at_ms = body.kind === "started" && host.state.incarnation === 0 ? host.state.now_ms : now_ms;
  const { state, actions } = step(host.state, { ...body, now_ms: at_ms } as AgentEvent);
  host.state = state;
  host.committed = state.tx.committed;
  const { life } = host;
  for (const action of actions) {
    if (host.life !== life || !host.agentUp) return;
    act(world, host, action, todo);
  }
  mayStand(host);
}

function act(world: World, host: SearchHost, action: Action, todo: Happening[]): void {
  const { role } = host;
  const begin = (pending: Pending): void => {
    world.pending.push(pending);
  };
  mayWork(host, action);
  switch (action.kind) {
    case "send": {
      const { to, message } = action;
      if (message.kind === "package") host.vm = null;
      if (!pathOk(world, role, to)) return;
      if (message.kind === "ping" || message.kind === "pong") {
        todo.push({ role: to, body: { kind: "message", from: role, message } });
        return;
      }
      const body =
        message.kind === "append" ? (host.bodies.find((b) => keyOf(b.header) === keyOf(message)) ?? null) : null;
      // The same words twice are one: what is said again and again does not fill the world.
      const already = (p: Pending): boolean =>
        p.kind === "message" && p.from === role && p.role === to && saysTheSame(p.message, message);
      if (!world.pending.some(already)) begin({ kind: "message", held: false, from: role, role: to, message, body });
      return;
    }
    case "persistPromise":
      mayPromise(host, action.durable);
      host.writing = action.durable;
      begin({ kind: "persist", held: false, role });
      return;
    case "startMigration":
      begin({ kind: "capture", held: false, role: "source" });
      return;
    case "cancelMigration":
      if (host.vm !== null) host.vm.running = true;
      stop(world, ({ kind }) => kind === "capture");
      return;
    case "loadPackage":
      host.qemu += 1;
      begin({ kind: "load", held: false, role: "target" });
      return;
    case "takeTransaction":
      take(world, host, action);
      return;
    case "forgetRecord":
      host.bodies = host.bodies.filter(({ header }) => keyOf(header) !== keyOf(action));
      return;
    case "dropRecord":
      host.bodies = host.bodies.filter(({ header }) => keyOf(header) !== keyOf(action));
      if (world.setup.model.dropForgets && host.takeNext !== null && host.vm !== null) {
        host.vm.table = host.vm.table.copy();
        host.vm.table.forget();
      }
      return;
    case "storeRecord":
      begin({ kind: "store", held: false, role: "escrow", header: action.header });
      return;
    case "releaseOutput": {
      mayLetOut(host, action);
      if (host.vm !== null) host.frames = host.vm.frames;
      oracleOf(world).released(role, action, host.state, host.frames, host.vm?.restoredMark ?? null);
      begin({
        kind: "out",
        held: false,
        role,
        from: action.from,
        frames: host.frames.slice(action.from - 1, action.to),
      });
      return;
    }
    case "startRestore":
      host.qemu += 1;
      begin({ kind: "restore", held: false, role, action });
      return;
    case "abortRestore":
    case "stopQemu":
      endQemu(world, host);
      return;
    case "runQemu":
      runVm(world, host, todo);
      return;
    case "finish":
      if (role === "source") host.hasBase = false;
      if (role === "escrow") {
        host.log = [];
        host.finished = true;
      }
      return;
    case "report":
      noteReport(world, host, action.report);
      return;
    case "setTimer":
    case "setPageRoute":
    case "startPageServer":
    case "stopPageServer":
    // Only what is protected beside a migration has those.
    case "startProtection":
    case "stopProtection":
    case "adoptBase":
      return;
  }
}

function noteReport(world: World, { role, state }: SearchHost, report: Report): void {
  switch (report.what) {
    case "violation":
      if (!isSabotaged(world.setup.model)) throw new Violation(1, report.why);
      world.reported += 1;
      return;
    case "protection-on":
      oracleOf(world).protectedBy(report.generation, report.n);
      return;
    case "generation-opened":
      if (report.descriptor.mode === "claim" && world.onlyCut) {
        throw new Violation(4, "one cut link cost a working VM its place");
      }
      oracleOf(world).opened(report.descriptor, role, state);
      return;
    default:
      return;
  }
}

/** What is under way and will not come any more. */
export function stop(world: World, which: (pending: Pending) => boolean): void {
  world.pending = world.pending.filter((pending) => !which(pending));
}

/** A QEMU ends, and with it what was asked of it. */
function endQemu(world: World, host: SearchHost): void {
  host.vm = null;
  host.qemu += 1;
  host.taking = null;
  host.takeNext = null;
  const { role } = host;
  stop(
    world,
    (p) => p.role === role && (p.kind === "load" || p.kind === "restore" || p.kind === "ran" || p.kind === "take"),
  );
}

function runVm(world: World, host: SearchHost, todo: Happening[]): void {
  const { vm, role } = host;
  if (vm === null) return;
  if (world.runsFail) {
    todo.push({ role, body: { kind: "runFailed" } });
    return;
  }
  oracleOf(world).runs(role, snapshotOf(vm));
  vm.running = true;
  world.pending.push({ kind: "ran", held: false, role });
}

function take(world: World, host: SearchHost, action: Take): void {
  if (host.taking !== null) {
    host.takeNext = action;
    return;
  }
  if (host.vm === null) return;
  host.taking = action;
  host.vm.still = true;
  const table = host.vm.table.copy();
  table.collect(action.n);
  host.vm.table = table;
  world.pending.push({ kind: "take", held: false, role: host.role });
}

/** The transaction that is being taken is there, or has failed. */
export function takeEnds(world: World, host: SearchHost, fails: boolean): void {
  const { taking: action, takeNext: next, vm } = host;
  if (action === null) return;
  host.taking = null;
  host.takeNext = null;
  if (vm !== null) vm.still = false;
  const { generation, n, since } = action;
  if (fails || world.untrackable || vm === null) {
    happen(world, host.role, { kind: "transactionFailed", generation, n });
  } else {
    const snapshot = snapshotOf(vm);
    const pages = vm.table.since(since === "base" ? 0 : since);
    const { staleMark } = world.setup.model;
    // As in the simulator: of the transaction before, as a shell would say that reads its output too early.
    const mark = frameNumber(staleMark && n > 2 ? Math.max(0, host.state.gate.committed - 1) : vm.frames.length);
    const body: Body = {
      header: { generation, n, since, mark, acked: frameNumber(0) },
      snapshot,
      changes: { pages, contents: pages.map((page) => snapshot.memory[page] ?? 0) },
      bytes: 0,
      relativeTo: 0,
    };
    host.bodies = [...host.bodies, body];
    happen(world, host.role, { kind: "transactionTaken", generation, n, mark });
  }
  if (next !== null && host.vm !== null) take(world, host, next);
}

/** The escrow's log takes the record, or finds that it contradicts what it has. */
export function storeEnds(world: World, host: SearchHost, pending: Extract<Pending, { kind: "store" }>): void {
  const { header } = pending;
  const { generation, n } = header;
  const body = host.bodies.find((candidate) => keyOf(candidate.header) === keyOf(header));
  if (body === undefined) throw new Error("a record without a body was stored");
  if (world.diskFull || host.finished) {
    happen(world, "escrow", { kind: "recordFailed", generation, n, why: world.diskFull ? "the disk is full" : null });
    return;
  }
  const after = host.fold === null ? body.snapshot.memory : foldWith(host.fold, host.log, body, false);
  if (after === null) {
    happen(world, "escrow", { kind: "recordRefused", generation, n, why: "base and log do not give its digest" });
    if (host.state.log?.last !== n) return;
  }
  host.log = [...host.log, { ...body, header, synced: world.setup.logSync === "disk" }];
  if (host.fold !== null) {
    const fold = foldOf(world.base, host.log);
    host.fold = fold;
    oracleOf(world).committed(body.snapshot, header, fold);
  }
  happen(world, "escrow", { kind: "recordStored", generation, n });
}

export function captureEnds(world: World, host: SearchHost): void {
  const { vm } = host;
  if (vm === null || host.state.phase !== "precopy") return;
  vm.running = false;
  host.package = snapshotOf(vm);
  world.base = host.package.memory;
  world.hosts.escrow.fold = host.package.memory.slice();
  oracleOf(world).packaged(host.package);
  const mark = frameNumber(vm.frames.length);
  happen(world, "source", { kind: "packageReady", mark, acked: frameNumber(Math.min(host.acked, mark)) });
}

export function loadEnds(world: World, host: SearchHost): void {
  const from = world.hosts.source.package;
  if (from === null || host.state.vm !== "loading") return;
  host.vm = vmAgain(from.frames, from.memory, from.hash, true, null);
  happen(world, "target", { kind: "vmRunning" });
}

function vmAgain(
  frames: readonly number[],
  memory: Int32Array,
  hash: number,
  running: boolean,
  restoredMark: number | null,
): SearchHost["vm"] {
  const table = new PageTable(PAGES);
  return {
    hash,
    frames: frames.slice(),
    memory: memory.slice(),
    table,
    running,
    still: false,
    restoredMark,
    relativeTo: 0,
  };
}

export function restoreEnds(world: World, host: SearchHost, { action }: Extract<Pending, { kind: "restore" }>): void {
  const { role } = host;
  const { generation, n } = action;
  const base = host.hasBase || (role === "target" && world.pagesEscrow === 0);
  const from = material(world, host, action);
  if (from === null || !base) {
    happen(world, role, { kind: "restoreFailed", generation });
    return;
  }
  const { snapshot, mark, acked } = from;
  if (snapshot.frames.length !== mark) throw new Violation(3, "a record's mark is not its snapshot's");
  host.vm = vmAgain(snapshot.frames, snapshot.memory, snapshot.hash, false, mark);
  happen(world, role, { kind: "restoreReady", generation, n, mark: frameNumber(mark), acked: frameNumber(acked) });
}

function material(
  world: World,
  host: SearchHost,
  { from, n }: Extract<Action, { kind: "startRestore" }>,
): { readonly snapshot: Body["snapshot"]; readonly mark: number; readonly acked: number } | null {
  if (from === "package") {
    return host.package === null ? null : { snapshot: host.package, mark: host.package.frames.length, acked: 0 };
  }
  const { escrow } = world.hosts;
  if (!canTalk(world, host.role, "escrow") || escrow.frozen) return null;
  const record = escrow.log.find(({ header }) => header.n === n);
  if (record === undefined) return null;
  if (!sameMemory(foldOf(world.base, escrow.log, n), record.snapshot.memory)) {
    throw new Violation(3, `base and log do not give the memory of transaction ${n}, which is restored`);
  }
  return { snapshot: record.snapshot, mark: record.header.mark, acked: record.header.acked };
}

export function ranEnds(world: World, host: SearchHost): void {
  happen(world, host.role, { kind: "vmRunning" });
  happen(world, host.role, { kind: "edgeConnected", upTo: frameNumber(world.oracle.edgeCount) });
}

/** Frames reach the receiving edge, which says so. */
export function outEnds(world: World, { role, from, frames }: Extract<Pending, { kind: "out" }>): void {
  const oracle = oracleOf(world);
  let gap = false;
  for (const [i, content] of frames.entries()) {
    const became = oracle.arrives(from + i, content);
    if (became === "taken") world.edgeFresh = Math.max(world.edgeFresh, Math.floor(content / 65_536));
    if (became === "gap") gap = true;
  }
  world.pending.push({ kind: "ack", held: false, role, upTo: frameNumber(oracle.edgeCount), gap });
}

export function ackEnds(world: World, { role, upTo, gap }: Extract<Pending, { kind: "ack" }>): void {
  const host = world.hosts[role];
  host.acked = Math.max(host.acked, upTo);
  happen(world, role, { kind: gap ? "edgeConnected" : "edgeAcked", upTo });
}

export function start(world: World, role: Role): void {
  const host = world.hosts[role];
  const first = host.state.incarnation === 0;
  host.up = true;
  host.agentUp = true;
  world.lives += 1;
  host.life = world.lives;
  const last = host.log[host.log.length - 1];
  const log = last === undefined ? null : logState(last.header);
  const memory = !first && host.memoryKept ? memoryOf(host, world.pagesTarget >= PAGES) : null;
  host.memoryKept = true;
  if (!first && host.durable === null) host.durable = { descriptor: GENESIS, opened: false };
  happen(world, role, { kind: "started", incarnation: host.life, durable: first ? null : host.durable, memory, log });
  if (first) return;
  happen(world, role, { kind: "edgeConnected", upTo: frameNumber(world.oracle.edgeCount) });
  if (role === "target") {
    if (world.untrackable) happen(world, "target", { kind: "untrackable", why: "the tracker does not open" });
    if (world.covered) happen(world, "target", { kind: "baseCovered", covered: true });
  } else if (role === "escrow" && world.pagesEscrow === 0) {
    happen(world, "escrow", { kind: "baseComplete", complete: true });
  }
}

/** The agent dies. `kept`: what it was writing to its disk is there. What it has sent is on its way. */
export function crash(world: World, host: SearchHost, kept: boolean): void {
  const { role } = host;
  endAgent(host, kept);
  host.life = 0;
  stop(world, (p) => p.role === role && p.kind !== "out");
}

/** The host loses power, and unless it is `kept` what it was writing and sending is lost with it. */
export function losePower(world: World, host: SearchHost, kept: boolean): void {
  if (host.agentUp) crash(world, host, kept);
  const { role } = host;
  stop(world, (p) => !kept && ((p.kind === "out" && p.role === role) || (p.kind === "message" && p.from === role)));
  endQemu(world, host);
  if (host.role === "source") host.package = null;
  host.hasBase = false;
  host.memoryKept = false;
  host.committed = null;
  host.acked = 0;
  host.bodies = [];
  host.up = false;
  host.frozen = false;
  if (host.role !== "escrow") return;
  world.pagesEscrow = PAGES;
  cutLog(world, host, host.log.filter(({ synced }) => synced).length);
}

export function cutLog(world: World, escrow: SearchHost, length: number): void {
  if (length >= escrow.log.length) return;
  escrow.log = escrow.log.slice(0, Math.max(0, length));
  escrow.fold = world.base === null ? null : foldOf(world.base, escrow.log);
}

export function killQemu(world: World, host: SearchHost): void {
  if (host.vm !== null) host.frames = host.vm.frames;
  endQemu(world, host);
  world.pending.push({ kind: "gone", held: false, role: host.role });
}

/** The guest writes a page and says something. */
export function work(world: World, host: SearchHost): void {
  const { vm } = host;
  if (vm === null) return;
  world.writes += 1;
  world.framesEver += 1;
  const page = world.writes % (PAGES - 1);
  const memory = changed(vm.memory, page, world.writes);
  const table = vm.table.copy();
  table.note(page);
  const hash = (Math.imul(vm.hash, 0x01000193) ^ (world.writes * 2 + (host.role === "source" ? 0 : 1))) >>> 0;
  const frames = [...vm.frames, world.framesEver * 65_536 + (hash & 0xffff)];
  host.vm = { ...vm, memory, table, hash, frames };
  happen(world, host.role, { kind: "output", upTo: frameNumber(frames.length) });
}

function changed(memory: Int32Array, page: number, content: number): Int32Array {
  const copy = memory.slice();
  apply(copy, { pages: [page], contents: [content] });
  return copy;
}

/** Pages arrive at the target and at the escrow, one each. */
export function movePages(world: World): void {
  const { source, target } = world.hosts;
  const most = world.setup.drains ? PAGES : PAGES - 1;
  if (target.vm !== null && target.agentUp && !target.frozen && world.pagesTarget < most) {
    const route = routeOf(world);
    if (route === "base" || (route === "escrow" && world.pagesTarget >= world.pagesEscrow)) world.pagesTarget += 1;
  }
  const copies = source.hasBase && source.state.promised.generation > 0 && canTalk(world, "source", "escrow");
  if (copies && !source.frozen && !world.hosts.escrow.frozen && world.pagesEscrow > 0) {
    world.pagesEscrow -= 1;
    if (world.pagesEscrow === 0) happen(world, "escrow", { kind: "baseComplete", complete: true });
  }
  const covered = world.pagesTarget >= world.pagesEscrow || world.pagesTarget >= PAGES;
  if (covered !== world.covered && target.vm !== null && !target.frozen) {
    world.covered = covered;
    happen(world, "target", { kind: "baseCovered", covered });
  }
  if (target.vm !== null && world.pagesTarget >= PAGES && !target.state.allPages) {
    happen(world, "target", { kind: "allPagesArrived" });
  }
}

function routeOf(world: World): "base" | "escrow" | null {
  const { source, target } = world.hosts;
  const { route } = target.state;
  const base = source.hasBase && !source.frozen;
  if (route === "direct") return base && canTalk(world, "source", "target") ? "base" : null;
  if (route === "via-escrow") {
    return base && canTalk(world, "source", "escrow") && canTalk(world, "escrow", "target") ? "base" : null;
  }
  return route === "escrow" && canTalk(world, "escrow", "target") ? "escrow" : null;
}

/** Whether something of that host's agent can be dealt with now. */
export function isAble(world: World, pending: Pending): boolean {
  if (pending.kind === "out") return true;
  return !world.hosts[pending.role].frozen;
}
