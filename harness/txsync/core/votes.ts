import type { Action } from "./action.ts";
import { hears, inGrace, leaseLeft_ms, peerStatus, peersOf } from "./lease.ts";
import type { Refusal } from "./message.ts";
import { isFree, isWell, statusOf } from "./owner.ts";
import type { AgentState, Draft, Persisting } from "./state.ts";
import { type Basis, type Descriptor, type Durable, type Generation, generation, type Role } from "./values.ts";

/**
 * Votes. A generation is opened by the promises of two of three agents, its owner's among them. An agent promises a
 * generation number at most once, so a generation has one owner; and two majorities share an agent, so whoever opens
 * a generation hears of what must not be superseded:
 *
 * - a promise is on disk before it is sent, and refuses everything of lower generations for ever;
 * - a promised `free` generation (unprotected, final) is bound to its owner for ever, because its owner may be letting
 *   output out that no log contains;
 * - protected generations and claims let out nothing but what the log contains, and may be superseded by whoever
 *   starts from that log (or has never lost the state).
 *
 * Before it promises to itself a candidate asks whether it would be promised (`pre`), so that one that is merely cut
 * off does not push the number up under a working owner.
 */
export function refusal(s: AgentState, from: Role, p: Descriptor): Refusal | null {
  // What was opened elsewhere binds before it is on disk here.
  const d = higher(s.promised, s.opened);
  const { rules, role } = s.config;
  if (!s.letIn) return "just-started";
  if (p.generation <= d.generation) return sameDescriptor(p, d) ? "stale" : "promised-higher";
  if (s.persisting !== null || s.replyAfterStore !== null) return "busy";
  if (isFree(d) && d.owner !== from && rules.freeBindsForEver && !mayYield(s, d)) return "belongs-to-another";
  // Its VM has gone on since: another one may be made of the log, but none that stood elsewhere comes back.
  if (d.mode === "protected" && p.owner !== d.owner && p.mode !== "claim" && p.basis === null)
    return "belongs-to-another";
  if (rules.refuseWhileHearing && (p.mode === "claim" || from !== d.owner)) {
    if (inGrace(s)) return "just-started";
    if (isWell(s)) return "hears-owner";
    for (const peer of peersOf(role)) {
      if (peer !== from && hears(s, peer) && peerStatus(s, peer)?.well === true) return "hears-owner";
    }
  }
  if (p.validFrom < Math.max(d.validFrom, s.promised.validFrom) && rules.logMustBeValid) return "stale";
  // What went out freely is in no log; only a restored VM that never ran may be claimed anew, by its owner.
  if (p.mode === "claim" && isFree(d) && d.basis === null && rules.freeBindsForEver) return "log-cannot-restore";
  if (role === "escrow" && p.mode === "claim" && !restorable(s, p.validFrom, from)) return "log-cannot-restore";
  if (p.basis !== null && rules.finalChecksBasis) {
    // A record under way will be answered for: whether the VM contains it is known when it is stored.
    if (s.storing !== null) return "busy";
    if (!isLatest(s, d, p.basis)) return "restored-too-old";
  }
  return null;
}

/**
 * Our own free generation, promised to ourselves and never opened: only we could have, so nobody has. What others
 * promised for it is void once we promise something newer.
 */
function mayYield(s: AgentState, d: Descriptor): boolean {
  return d.owner === s.config.role && d.generation > 0 && !s.everFree;
}

/** As far as this agent knows, nothing was committed beyond what the claimed VM was restored from. */
function isLatest(s: AgentState, d: Descriptor, basis: Basis): boolean {
  if (d.generation <= basis.claim) return true;
  if (s.config.role === "escrow") return (s.log?.last ?? 0) === basis.n;
  return s.tx.committed !== null && s.tx.committed <= basis.n;
}

/**
 * The log holds what a restore needs, as far as we know or who asks does: the time without protection may be one that nobody
 * else has heard of. An empty log does, for the source, while nothing was ever committed.
 */
function restorable({ log, promised, config }: AgentState, from: Generation, by: Role): boolean {
  if (!config.rules.logMustBeValid) return true;
  const validFrom = Math.max(promised.validFrom, from);
  return log === null ? validFrom <= 1 && by === "source" : log.generation >= validFrom;
}

/** Promises `durable.descriptor` in memory at once, on disk next; `then` follows when it is there. */
export function persist(s: Draft, out: Action[], durable: Durable, then: Persisting["then"]): void {
  if (s.persisting !== null) throw new Error("txsync core: two promises are being written at once");
  s.promised = durable.descriptor;
  if (durable.descriptor.generation > s.seen) s.seen = durable.descriptor.generation;
  const whole = s.escrow === null ? durable : { ...durable, escrow: s.escrow };
  out.push({ kind: "persistPromise", durable: whole });
  s.persisting = { durable: whole, then };
}

export function handleAsk(s: Draft, out: Action[], from: Role, pre: boolean, p: Descriptor, attempt = 0): void {
  if (p.generation > s.seen && !pre) s.seen = p.generation;
  // A claim that was promised before this escrow lost records is no good any more: it goes the long way.
  const outdated = !isFree(p) && p.validFrom < s.promised.validFrom;
  if (!pre && sameDescriptor(p, s.promised) && !outdated) {
    becomeIncoming(s, attempt);
    // Asked again: the first answer was lost. While the promise is being written the answer is still to come.
    if (s.persisting === null && s.replyAfterStore === null) sendPromise(s, out, from, false);
    return;
  }
  const why = refusal(s, from, p);
  if (why !== null) {
    if (!pre) out.push({ kind: "report", report: { what: "vote-refused", descriptor: p, to: from, why } });
    const validFrom = generation(Math.max(s.promised.validFrom, s.opened.validFrom));
    const promised = { ...higher(s.promised, s.opened), validFrom };
    out.push({ kind: "send", to: from, message: { kind: "refuse", pre, descriptor: p, promised, why } });
    if (pre && why === "hears-owner") oweAnswer(s, out, from, p);
    return;
  }
  if (pre) {
    wouldPromise(s, out, from, p);
    return;
  }
  s.candidacy = null;
  out.push({ kind: "report", report: { what: "vote-promised", descriptor: p, to: from } });
  persist(s, out, { descriptor: p, opened: false }, { kind: "reply", to: from });
  if (!s.config.rules.promiseDurable) sendPromise(s, out, from, false);
}

function wouldPromise(s: Draft, out: Action[], to: Role, descriptor: Descriptor): void {
  if (s.asker?.from === to) s.asker = null;
  out.push({ kind: "send", to, message: { kind: "promise", pre: true, descriptor, status: statusOf(s) } });
}

/** For so many heartbeats: whoever still wants to know has asked again by then. */
const OWED_BEATS = 2;

/**
 * Two agents lose sight of an owner within a heartbeat of each other, and the first of them asks the second too early. It
 * is answered as soon as the owner is heard no more, or says that it has no VM, and not when it happens to ask again.
 */
function oweAnswer(s: Draft, out: Action[], from: Role, descriptor: Descriptor): void {
  s.asker = { from, descriptor, asked_ms: s.now_ms };
  for (const peer of peersOf(s.config.role)) {
    const left_ms = leaseLeft_ms(s, peer);
    const soon = left_ms >= 0 && left_ms < OWED_BEATS * s.config.heartbeat_ms;
    if (peer !== from && soon) out.push({ kind: "setTimer", timer: "asked", delay_ms: left_ms + 1 });
  }
}

/** After whatever happened: is what was refused refused still? */
export function answerLate(s: Draft, out: Action[]): void {
  const { asker } = s;
  if (asker === null) return;
  const owed = s.now_ms - asker.asked_ms <= OWED_BEATS * s.config.heartbeat_ms;
  if (!owed) s.asker = null;
  else if (refusal(s, asker.from, asker.descriptor) === null) wouldPromise(s, out, asker.from, asker.descriptor);
}

/**
 * The target has an empty QEMU when it joins; it waits for the package. Where that of an attempt before this one is gone there
 * is another one; in another life of the agent nobody can say that it was empty.
 */
export function becomeIncoming(s: Draft, attempt = 0): void {
  const joining = s.promised.generation === 1 && s.opened.generation === 0 && s.persisting === null;
  const again = s.vm === "gone" && attempt > 0 && s.attempt > 0 && attempt !== s.attempt;
  if (s.config.role === "target" && (s.vm === "none" || again) && joining) {
    s.vm = "incoming";
    s.incomingSince_ms = s.now_ms;
  }
}

/** Tells `to` of the promise, unless a record is being stored: the promise has to name it. */
export function replyPromise(s: Draft, out: Action[], to: Role): void {
  if (s.storing !== null && s.config.rules.promiseWaitsForStore) s.replyAfterStore = to;
  else sendPromise(s, out, to, false);
}

export function sendPromise(s: Draft, out: Action[], to: Role, pre: boolean): void {
  out.push({
    kind: "send",
    to,
    message: { kind: "promise", pre, descriptor: s.promised, status: statusOf(s) },
  });
}

/** The same generation. An escrow that lost records may have moved `validFrom` meanwhile. */
export function sameDescriptor(a: Descriptor, b: Descriptor): boolean {
  return a.generation === b.generation && a.owner === b.owner && a.mode === b.mode;
}

/** Of equal numbers the opened one counts: a promise to oneself that lost against it is void. */
function higher(promised: Descriptor, opened: Descriptor): Descriptor {
  return opened.generation >= promised.generation ? opened : promised;
}
