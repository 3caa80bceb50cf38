import type { Action } from "./action.ts";
import { assertState } from "./assert.ts";
import { adoptOpened, promiseCame, pursue, selfPromised, workAsOwner } from "./candidacy.ts";
import { hasSaidSince, pageRoute } from "./decide.ts";
import { escrowReplaced, followEscrow, letInByBoth } from "./escrow.ts";
import type { AgentEvent } from "./event.ts";
import { edgeHas, openGate } from "./gate.ts";
import { advanceClock, hears, inGrace, isGone, noteAnswer, notePeer, noteValidFrom, peersOf } from "./lease.ts";
import {
  isFollowedOn,
  joinAsked,
  joinProtected,
  lastSettled,
  lastTaken,
  leavesInVain,
  leaveWhenStored,
  mayLeave,
  noteFollows,
  unheard,
} from "./leave.ts";
import type { Message, PackageHead, Refusal, Status } from "./message.ts";
import { finishWhenSettled, isFree, isOwner, isWhole, learnOpened, lettingOutFreely, statusOf } from "./owner.ts";
import { SWITCHOVER, startedState } from "./start.ts";
import type { AgentState, Draft, Persisting, Step } from "./state.ts";
import {
  append,
  appendRefused,
  appendWaiting,
  cannotStore,
  committed,
  moving,
  noteLog,
  refusedByLog,
  resendIfSilent,
  stored,
  storingFailed,
  takeIfDue,
  taken,
  takingFailed,
} from "./transactions.ts";
import { type Descriptor, type FrameNumber, frameNumber, generation, type Role, transactionNumber } from "./values.ts";
import { answerLate, becomeIncoming, handleAsk, persist, replyPromise, sameDescriptor } from "./votes.ts";

/**
 * One step of an agent: a pure function of its state and of what happened. Nothing of `state` is changed.
 * @throws InvariantError when the core contradicts itself; the shell then stops the agent, gate shut.
 */
export function step(state: AgentState, event: AgentEvent): Step {
  const out: Action[] = [];
  let s: Draft;
  if (event.kind === "started") {
    s = startedState(state.config, event);
    begin(s, out, event);
  } else {
    s = { ...state };
    advanceClock(s, event.now_ms);
    happen(s, out, event);
  }
  adoptOpened(s, out);
  answerLate(s, out);
  pursue(s, out);
  workAsOwner(s, out);
  leaveWhenStored(s, out);
  assertState(s);
  return { state: s, actions: out };
}

function begin(s: Draft, out: Action[], event: Extract<AgentEvent, { kind: "started" }>): void {
  // Before anybody is spoken to.
  if (s.escrow !== null) out.push({ kind: "answerEscrow", key: s.escrow });
  if (event.durable !== null && event.durable.descriptor.validFrom !== s.promised.validFrom) {
    persist(s, out, { descriptor: s.promised, opened: false }, { kind: "nothing" });
  }
  // Up again, and nothing was promised: whatever the life before had begun, the VM runs on here.
  const again = event.durable !== null || event.memory !== null;
  if (again && s.config.role === "source" && s.promised.generation === 0) {
    out.push({ kind: "cancelMigration" });
  }
  openedByLog(s, out);
  heartbeat(s, out);
  if (s.ticking || s.protect) tick(s, out);
}

/**
 * Escrow: records of the generation that it has promised came of an owner that had opened it. Whoever could have told may
 * be gone with that owner, and who never heard of the generation restores nothing of it.
 */
function openedByLog(s: Draft, out: Action[]): void {
  const { promised, log, config } = s;
  if (config.role !== "escrow" || promised.mode !== "protected" || !config.rules.logTellsOpened) return;
  if (log?.generation === promised.generation) learnOpened(s, out, promised);
}

function tick(s: Draft, out: Action[]): void {
  s.ticking = true;
  out.push({ kind: "setTimer", timer: "epoch", delay_ms: s.config.epoch_ms });
}

function happen(s: Draft, out: Action[], event: Exclude<AgentEvent, { kind: "started" }>): void {
  switch (event.kind) {
    case "timer":
      if (event.timer === "heartbeat") heartbeat(s, out);
      if (event.timer !== "epoch") return;
      takeIfDue(s, out, false);
      tick(s, out);
      return;
    case "message":
      receive(s, out, event.from, event.message);
      return;
    case "promisePersisted":
      persisted(s, out);
      return;
    case "migrate":
      if (
        s.config.role !== "source" ||
        s.phase !== "idle" ||
        s.migrating ||
        (s.protect ? !mayLeave(s) : s.promised.generation !== 0) ||
        s.vm !== "running"
      )
        return;
      s.phase = "precopy";
      s.attempt = s.now_ms;
      join(s, out);
      return;
    case "protect":
      protect(s, out, event.on);
      return;
    case "escrowReplaced":
      escrowReplaced(s, out, event.key);
      return;
    case "baseVoid":
      s.hasBase = false;
      s.hasPackage = false;
      return;
    case "baseOffered":
      baseOffered(s, out, event.from);
      return;
    case "packageReady":
      packageReady(s, out, event.mark, event.acked);
      return;
    case "memoryAhead":
      if (s.phase !== "precopy" || !s.migrating || !s.protect || s.leaving !== null) return;
      s.leaving = { stage: "wanted" };
      takeIfDue(s, out, true);
      return;
    case "lastSettled":
      lastSettled(s, event.n);
      return;
    case "baseFollowed":
      if (s.base !== "following") return;
      s.base = "held";
      s.cannotFollow_ms = null;
      takeIfDue(s, out, true);
      return;
    case "migrationFailed":
      if (s.config.role === "source" && s.phase === "precopy" && (s.promised.generation === 0 || s.protect))
        cancel(s, out, "it could not go on");
      return;
    case "packageSending":
      s.packageSent_ms = s.now_ms;
      return;
    case "vmRunning":
      vmRunning(s, out);
      return;
    case "runFailed":
      if (s.vm !== "ready" || !s.runAsked) return;
      s.runAsked = false;
      s.retry_ms = s.now_ms + s.config.heartbeat_ms;
      return;
    case "qemuGone":
      qemuGone(s, out);
      return;
    case "allPagesArrived":
      s.allPages = true;
      return;
    case "baseCovered":
      if (event.covered && !s.baseCovered) out.push({ kind: "report", report: { what: "base-covered" } });
      s.baseCovered = event.covered;
      openGate(s, out);
      routePages(s, out);
      return;
    case "baseComplete":
      s.baseComplete = event.complete;
      return;
    case "output":
      if (event.upTo <= s.gate.produced) return;
      s.gate = { ...s.gate, produced: event.upTo };
      openGate(s, out);
      takeIfDue(s, out, true);
      return;
    case "edgeAcked":
    case "edgeConnected":
      edgeHas(s, event.upTo, event.kind === "edgeConnected");
      openGate(s, out);
      return;
    case "transactionTaken":
      taken(s, out, event.generation, event.n, event.mark);
      if (s.tx.record?.n === event.n && s.tx.record.generation === event.generation) lastTaken(s, event.n);
      else if (s.leaving?.stage === "taking" && s.leaving.n === event.n) cancel(s, out, LAST_FAILED);
      return;
    case "transactionFailed":
      takingFailed(s, event.generation, event.n);
      if (s.leaving?.stage === "taking" && s.leaving.n === event.n) cancel(s, out, LAST_FAILED);
      return;
    case "untrackable":
      if (s.config.role !== "escrow") s.untrackable = event.why;
      return;
    case "trackable":
      s.untrackable = null;
      return;
    case "recordSending":
      moving(s, event.generation, event.n);
      return;
    case "recordStored":
      stored(s, out, event.n);
      return;
    case "recordFailed":
      storingFailed(s, out, event.n, event.why);
      return;
    case "recordNotReceived":
      if (s.config.role === "escrow" && event.from !== "escrow") cannotStore(s, out, event.from, event, event.why);
      return;
    case "recordRefused":
      refusedByLog(s, out, event.n, event.why);
      return;
    case "restoreReady":
      restoreReady(s, out, event);
      return;
    case "restoreFailed":
      if (s.vm !== "restoring" || event.generation !== s.opened.generation) return;
      s.vm = "none";
      s.retry_ms = s.now_ms + s.config.heartbeat_ms;
      giveClaimUp(s);
      return;
  }
}

function protect(s: Draft, out: Action[], on: boolean): void {
  if (s.config.role === "escrow" || s.protect === on || s.vm !== "running") return;
  // It ends with its migration, or is asked about again when that is over.
  if (s.phase === "precopy") return;
  if (!on) {
    s.protect = false;
    s.base = "none";
    out.push({ kind: "stopProtection" });
    out.push({ kind: "report", report: { what: "protection-off", why: "it is not wanted any more" } });
    return;
  }
  // A migration has a protection of its own.
  if (!isWhole(s) || !["idle", "completed"].includes(s.phase)) return;
  s.protect = true;
  if (!s.ticking) tick(s, out);
}

/** Nothing may rest on what the escrow has: no output waits for it, or it has no base to lay it over. */
function baseOffered(s: Draft, out: Action[], from: Role): void {
  if (s.config.role !== "escrow" || !s.letIn) return;
  const d = s.opened.generation >= s.promised.generation ? s.opened : s.promised;
  // Where output is held back there is no free generation in which another base could come.
  const validSince = Math.max(d.validFrom, s.promised.validFrom);
  const unused = s.config.unprotected === "hold" && (s.log === null || s.log.generation < validSince);
  const allowed = d.owner === from && (isFree(d) || !s.baseComplete || unused);
  if (!allowed && s.config.rules.adoptsOwnersBase) return;
  if (s.storing !== null || s.persisting !== null) return;
  s.log = null;
  s.waiting = null;
  s.baseComplete = false;
  if (!isFree(d) && d.generation === s.promised.generation) {
    // A record that is still on its way is relative to the base before: only those of a later generation count.
    const validFrom = generation(d.generation + 1);
    persist(s, out, { descriptor: { ...s.promised, validFrom }, opened: false }, { kind: "nothing" });
  }
  // What was over before is let go of with this; what it would let go of now is the new one.
  s.base = "held";
  s.hasBase = true;
  out.push({ kind: "adoptBase", from });
}

function heartbeat(s: Draft, out: Action[]): void {
  const status = statusOf(s);
  for (const to of peersOf(s.config.role)) {
    out.push({ kind: "send", to, message: { kind: "ping", sent_ms: s.now_ms, status } });
  }
  out.push({ kind: "setTimer", timer: "heartbeat", delay_ms: s.config.heartbeat_ms });
  reportLeases(s, out);
  reportHold(s, out);
  routePages(s, out);
  resendIfSilent(s, out);
  if (s.config.role === "source") sourceHeartbeat(s, out);
  // The word that it was cancelled may have been lost with the source's agent.
  const waited_ms = s.now_ms - s.incomingSince_ms;
  if (
    s.vm === "incoming" &&
    s.peerSource?.phase === "idle" &&
    hears(s, "source") &&
    waited_ms > 2 * s.config.lease_ms
  ) {
    cancelled(s, out);
  }
}

function reportLeases(s: Draft, out: Action[]): void {
  if (inGrace(s)) return;
  for (const peer of peersOf(s.config.role)) {
    const lost = !hears(s, peer);
    if (lost === s.silent.includes(peer)) continue;
    s.silent = lost ? [...s.silent, peer] : s.silent.filter((role) => role !== peer);
    out.push({ kind: "report", report: { what: lost ? "lease-lost" : "lease-regained", peer } });
  }
}

/** An owner that holds its output back while the escrow is silent is not protected: that is said, though nothing leaves. */
function reportHold(s: Draft, out: Action[]): void {
  if (s.tx.protectedIn === null || s.config.unprotected !== "hold" || inGrace(s)) return;
  if (!isOwner(s) || s.opened.mode !== "protected" || hears(s, "escrow")) return;
  s.tx = { ...s.tx, protectedIn: null };
  const why = "the escrow is not heard: output is held back until it is";
  out.push({ kind: "report", report: { what: "protection-off", why } });
}

function sourceHeartbeat(s: Draft, out: Action[]): void {
  if (s.phase === "precopy") {
    const waited_ms = s.now_ms - s.attempt;
    if (s.protect || s.leaving !== null) {
      const alone =
        s.joined.length === 0 && waited_ms > JOIN_LEASES * s.config.lease_ms ? "nobody joins it" : undefined;
      const why = alone ?? leavesInVain(s) ?? leavesForNobody(s);
      if (why !== undefined) cancel(s, out, why);
      else if (s.joined.length === 0) joinProtected(s, out);
    } else if (s.joined.length < 2) {
      if (waited_ms > JOIN_LEASES_MAX * s.config.lease_ms) cancel(s, out, "the others do not join it");
      else join(s, out);
    } else {
      // While memory is copied ahead nothing is at stake: it is the package that waits for both to be heard. Of one that
      // both have joined, and that did not begin by then, the same.
      const late = s.migrating || waited_ms > JOIN_LEASES_MAX * s.config.lease_ms;
      const why = leavesForNobody(s) ?? (!inGrace(s) && late ? unheard((peer) => isGone(s, peer)) : undefined);
      if (why !== undefined) cancel(s, out, why);
    }
  } else if (s.phase === "switchover" && s.persisting === null) {
    const silent = s.now_ms - s.packageSent_ms >= s.config.lease_ms / 2;
    if (s.peerTarget?.vm === "incoming" && silent) sendPackage(s, out);
    else if (s.peerTarget?.vm === "running") s.phase = "draining";
  }
}

/** The target's QEMU waited when it joined, and says that it is gone: what was begun can only be given up. */
function leavesForNobody(s: Draft): string | undefined {
  return s.joined.includes("target") && s.peerTarget?.vm === "gone" ? "the target's QEMU is gone" : undefined;
}

/** For a target to say that it waits for a protected VM: a matter of one answer. */
const JOIN_LEASES = 4;
/** For both to promise what takes their disks, and links that may be down for a while. */
const JOIN_LEASES_MAX = 20;

/** Asks both others to promise generation 1; the source promises it itself at switchover, before the package leaves. */
function join(s: Draft, out: Action[]): void {
  if (s.protect) {
    joinProtected(s, out);
    return;
  }
  for (const to of peersOf("source")) {
    if (s.joined.includes(to)) continue;
    const message = { kind: "ask", pre: false, descriptor: SWITCHOVER, attempt: s.attempt } as const;
    out.push({ kind: "send", to, message });
  }
}

const LAST_FAILED = "its last transaction failed";

function cancel(s: Draft, out: Action[], why: string): void {
  // One that was given up before is said once.
  if (s.phase === "precopy") out.push({ kind: "report", report: { what: "migration-given-up", why } });
  s.phase = "idle";
  out.push({ kind: "cancelMigration" });
  giveUp(s, out);
}

function giveUp(s: Draft, out: Action[]): void {
  s.migrating = false;
  s.leaving = null;
  s.joined = [];
  for (const to of peersOf("source")) out.push({ kind: "send", to, message: { kind: "cancel", attempt: s.attempt } });
}

function packageReady(s: Draft, out: Action[], mark: FrameNumber, acked: FrameNumber): void {
  if (s.config.role !== "source" || s.vm !== "running" || s.promised.generation !== 0) return;
  if (s.phase !== "precopy" || s.joined.length < 2 || !hears(s, "target") || !hears(s, "escrow")) {
    cancel(s, out, s.joined.length < 2 ? "the others do not join it" : "the others are not heard");
    return;
  }
  s.phase = "switchover";
  s.vm = "none";
  s.hasPackage = true;
  s.gate = { ...s.gate, acked: frameNumber(Math.max(s.gate.acked, acked)), produced: mark, committed: mark };
  persist(s, out, { descriptor: SWITCHOVER, opened: false }, { kind: "switchover" });
  if (!s.config.rules.packageAfterPromise) switchover(s, out);
}

function switchover(s: Draft, out: Action[]): void {
  if (s.opened.generation > SWITCHOVER.generation) return;
  s.opened = SWITCHOVER;
  out.push({ kind: "report", report: { what: "generation-opened", descriptor: SWITCHOVER } });
  out.push({ kind: "startPageServer" });
  sendPackage(s, out);
}

/** The package of a protected VM: the target opens its generation by promising it too. */
function followOn(s: Draft, out: Action[]): void {
  if (s.opened.generation >= s.promised.generation) return;
  out.push({ kind: "startPageServer" });
  sendPackage(s, out);
}

function sendPackage(s: Draft, out: Action[]): void {
  const { promised, hasPackage, leftAt } = s;
  if (!hasPackage || (promised.generation !== SWITCHOVER.generation && !isFollowedOn(promised))) return;
  s.packageSent_ms = s.now_ms;
  const { produced: mark, acked } = s.gate;
  const n = isFollowedOn(promised) && leftAt !== null ? leftAt.n : transactionNumber(0);
  out.push({ kind: "send", to: "target", message: { kind: "package", descriptor: promised, n, mark, acked } });
}

function persisted(s: Draft, out: Action[]): void {
  const done = s.persisting;
  if (done === null) return;
  s.persisting = null;
  s.logLost = false;
  afterPersisted(s, out, done.then);
  appendWaiting(s, out);
}

function afterPersisted(s: Draft, out: Action[], then: Persisting["then"]): void {
  switch (then.kind) {
    case "reply":
      becomeIncoming(s);
      replyPromise(s, out, then.to);
      return;
    case "candidate":
      selfPromised(s, out);
      return;
    case "switchover":
      if (isFollowedOn(s.promised)) followOn(s, out);
      else if (s.config.rules.packageAfterPromise) switchover(s, out);
      return;
    case "load":
      if (s.vm === "incoming" && s.promised.generation === then.package.descriptor.generation)
        load(s, out, then.package);
      return;
    case "escrow":
      if (s.escrow !== null) out.push({ kind: "answerEscrow", key: s.escrow });
      return;
    case "nothing":
      return;
  }
}

function receive(s: Draft, out: Action[], from: Role, message: Message): void {
  // Until it is on disk who the escrow is the one before is still spoken to, and not listened to.
  if (from === "escrow" && s.persisting?.then.kind === "escrow") return;
  switch (message.kind) {
    case "ping":
      notePeer(s, from, message.status);
      out.push({
        kind: "send",
        to: from,
        message: { kind: "pong", echo_ms: message.sent_ms, status: statusOf(s) },
      });
      gossip(s, out, from, message.status);
      return;
    case "pong":
      noteAnswer(s, from, message.echo_ms);
      notePeer(s, from, message.status);
      gossip(s, out, from, message.status);
      startWhenJoined(s, out);
      return;
    case "ask":
      handleAsk(s, out, from, message.pre, message.descriptor, message.attempt);
      if (s.config.role === "target" && message.attempt > 0) s.attempt = message.attempt;
      return;
    case "promise":
      if (s.config.role === "source" && s.phase === "precopy" && sameDescriptor(message.descriptor, SWITCHOVER)) {
        notePeer(s, from, message.status);
        joinedBy(s, out, from);
      } else promiseCame(s, out, from, message.pre, message.descriptor, message.status);
      return;
    case "refuse":
      if (message.promised.generation > s.seen) s.seen = message.promised.generation;
      noteValidFrom(s, from, message.promised);
      outvoted(s, message.descriptor, message.promised, message.why);
      if (message.why === "restored-too-old") giveRestoredUp(s, out, message.descriptor);
      return;
    case "package":
      packageCame(s, out, message);
      return;
    case "append":
      append(s, out, from, message);
      return;
    case "appended":
      if (from !== "escrow") return;
      notePeer(s, from, message.status);
      committed(s, out, message.generation, message.n);
      return;
    case "append-refused":
      if (from !== "escrow") return;
      noteValidFrom(s, from, message.promised);
      appendRefused(s, out, message);
      return;
    case "join":
      joinAsked(s, out, from, message.attempt);
      return;
    case "joined":
      if (!s.protect || s.phase !== "precopy" || from !== "target" || message.attempt !== s.attempt) return;
      notePeer(s, from, message.status);
      joinedBy(s, out, from);
      return;
    case "cancel":
      // One that was on its way for long may come after the next attempt has begun.
      if (from === "source" && message.attempt === s.attempt) cancelled(s, out);
      return;
  }
}

function gossip(s: Draft, out: Action[], from: Role, status: Status): void {
  if (status.promised.generation > s.seen) s.seen = status.promised.generation;
  if (from === "source") s.sourceDeaf_ms = status.hearsEscrow ? null : (s.sourceDeaf_ms ?? s.now_ms);
  if (from === "escrow") {
    noteLog(s, out, status.log);
    const whole = s.peerEscrow?.baseComplete === true;
    s.baseMissing_ms = whole ? null : (s.baseMissing_ms ?? s.now_ms);
    s.offerUnheard_ms = whole && s.base === "copying" && !s.baseCovered ? (s.offerUnheard_ms ?? s.now_ms) : null;
    noteFollows(s);
    if (s.protect && s.vm === "running") openGate(s, out);
  }
  learnOpened(s, out, status.opened);
  followEscrow(s, out, from, status);
  letInByBoth(s, out);
  finishWhenSettled(s, out);
  routePages(s, out);
}

function joinedBy(s: Draft, out: Action[], from: Role): void {
  if (s.joined.includes(from)) return;
  // A promise of an attempt before this one is as good as ever, but its target is not there any more.
  if (from === "target" && s.peerTarget?.vm !== "incoming") return;
  s.joined = [...s.joined, from];
  startWhenJoined(s, out);
}

function startWhenJoined(s: Draft, out: Action[]): void {
  if (s.phase !== "precopy" || s.migrating || s.joined.length < (s.protect ? 1 : 2)) return;
  if (!hears(s, "target") || !hears(s, "escrow")) return;
  s.migrating = true;
  out.push({ kind: "startMigration" });
}

/** The source gave the migration up before switchover: its VM simply runs on. */
function cancelled(s: Draft, out: Action[]): void {
  if (s.config.role !== "target" || s.vm !== "incoming") return;
  out.push({ kind: "stopQemu" });
  s.vm = "none";
}

function packageCame(s: Draft, out: Action[], message: Extract<Message, { kind: "package" }>): void {
  if (s.config.role !== "target" || s.vm !== "incoming" || s.persisting !== null) return;
  const { descriptor } = message;
  if (isFollowedOn(descriptor)) {
    // With ours there are two promises. Until ours is on disk nothing runs here.
    if (descriptor.generation <= Math.max(s.promised.generation, s.opened.generation)) return;
    s.candidacy = null;
    persist(s, out, { descriptor, opened: false }, { kind: "load", package: message });
    return;
  }
  if (s.promised.generation !== SWITCHOVER.generation || descriptor.generation !== SWITCHOVER.generation) return;
  // The package leaves the source only when its own promise is on disk, after both others': the generation is open.
  load(s, out, message);
}

/** The VM is this host's from here on: it is loaded, and runs. */
function load(s: Draft, out: Action[], { descriptor, n, mark, acked }: PackageHead): void {
  const before = isFollowedOn(descriptor);
  s.opened = before ? descriptor : SWITCHOVER;
  s.begun = s.opened.generation;
  s.vm = "loading";
  s.phase = "switchover";
  s.base = before && s.config.rules.recordsWaitForBase ? "following" : "held";
  s.protect = s.config.protect === "always";
  s.gate = { produced: mark, released: acked, acked, committed: mark };
  if (before) {
    s.allPages = false;
    s.ranFree = false;
    s.baseMissing_ms = null;
    s.leftAt = { generation: descriptor.generation, n };
    s.cannotFollow_ms = null;
    // The escrow has that transaction: the next one is relative to it.
    s.tx = { ...s.tx, stage: "idle", record: null, next: transactionNumber(n + 1), since: n, committed: n };
    out.push({ kind: "report", report: { what: "generation-opened", descriptor } });
    // Nobody else knows that it is open.
    for (const to of peersOf("target"))
      out.push({ kind: "send", to, message: { kind: "ping", sent_ms: s.now_ms, status: statusOf(s) } });
  }
  out.push({ kind: "loadPackage" });
}

function vmRunning(s: Draft, out: Action[]): void {
  if (s.vm === "loading") {
    s.vm = "running";
    s.phase = "draining";
    takeIfDue(s, out, true);
    routePages(s, out);
  } else if (s.vm === "ready" && s.runAsked) {
    s.vm = "running";
    s.runAsked = false;
    s.ranFree = true;
    s.phase = "completed";
    // What the escrow has is not relative to this one's memory.
    s.base = "none";
    s.protect = s.config.protect === "always";
    if (s.protect && !s.ticking) tick(s, out);
  }
  openGate(s, out);
}

function qemuGone(s: Draft, out: Action[]): void {
  if (s.vm === "none" || s.vm === "gone") return;
  const was = s.vm;
  s.vm = "gone";
  s.tx = { ...s.tx, stage: "idle", record: null };
  if (was === "restoring" || (was === "ready" && s.gate.released <= s.gate.committed)) {
    s.retry_ms = s.now_ms + s.config.heartbeat_ms;
    s.vm = "none";
    s.restored = null;
    s.runAsked = false;
    // What it put out after it was asked to run is nobody's: the next one is restored from the same.
    if (was === "ready") s.gate = { ...s.gate, produced: s.gate.committed };
    return;
  }
  if (lettingOutFreely(s)) {
    s.phase = "lost";
    s.ranFree = true;
    out.push({ kind: "report", report: { what: "lost", why: "the VM died while nothing protected it" } });
  } else if (was === "running" && s.phase === "precopy") {
    giveUp(s, out);
    s.phase = "watching";
  } else if (was === "running" && (s.phase === "idle" || s.phase === "completed")) s.phase = "watching";
}

function restoreReady(s: Draft, out: Action[], event: Extract<AgentEvent, { kind: "restoreReady" }>): void {
  if (s.vm !== "restoring" || !isOwner(s) || s.opened.generation !== event.generation) {
    if (s.vm !== "restoring") out.push({ kind: "abortRestore" });
    return;
  }
  const released = s.config.rules.letOutAgain ? event.acked : event.mark;
  s.vm = "ready";
  s.restored = { claim: event.generation, n: event.n };
  s.gate = {
    produced: event.mark,
    released,
    acked: frameNumber(Math.min(released, event.acked)),
    committed: event.mark,
  };
  s.tx = { ...s.tx, stage: "idle", record: null, since: "base", next: transactionNumber(event.n + 1) };
}

/**
 * The escrow has lost the record that our claim is for, or the base that it is to be laid over: the claim is void, and
 * somebody else may be better off.
 */
function giveClaimUp(s: Draft): void {
  const { restoreFrom } = s;
  if (restoreFrom === null || restoreFrom.from !== "log" || !hears(s, "escrow")) return;
  if (s.peerEscrow?.log?.last === restoreFrom.n && !baseIsGone(s)) return;
  s.restoreFrom = null;
  s.begun = null;
}

/** An escrow whose agent came up again says for a moment that it has none. */
function baseIsGone(s: Draft): boolean {
  const { hasBase, baseMissing_ms, config } = s;
  if (hasBase || baseMissing_ms === null || !config.rules.claimNeedsBase) return false;
  return hasSaidSince(s, baseMissing_ms);
}

/** Somebody else got this number, or we said something outdated: the next attempt is a new one. */
function outvoted(s: Draft, refused: Descriptor, promised: Descriptor, why: Refusal): void {
  const now = s.candidacy;
  if (now === null || now.descriptor.generation !== refused.generation) return;
  const stale = why === "stale";
  if (stale || (promised.generation >= refused.generation && promised.owner !== refused.owner)) s.candidacy = null;
}

/** More was committed since our claim: what we restored is not the VM any more. Claim again, if need be. */
function giveRestoredUp(s: Draft, out: Action[], refused: Descriptor): void {
  if (
    s.vm !== "ready" ||
    s.runAsked ||
    s.ranFree ||
    refused.basis === null ||
    refused.basis.claim !== s.restored?.claim
  )
    return;
  out.push({ kind: "abortRestore" });
  s.vm = "none";
  s.restored = null;
  s.restoreFrom = null;
  s.begun = null;
  s.candidacy = null;
}

function routePages(s: Draft, out: Action[]): void {
  // A restored VM lacks nothing.
  if (s.protect && isWhole(s)) return;
  if (s.config.role !== "target" || s.allPages || (s.vm !== "running" && s.vm !== "loading")) return;
  const route = pageRoute(s);
  if (route === s.route || (route === "none" && inGrace(s))) return;
  s.route = route;
  out.push({ kind: "setPageRoute", route });
  out.push({ kind: "report", report: { what: "page-route", route } });
}
