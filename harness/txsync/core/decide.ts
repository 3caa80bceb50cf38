import { hears, inGrace, PATIENCE_LEASES, peerStatus, peersOf } from "./lease.ts";
import { isFree, isOwner, isWell, isWhole, somebodyHasBase } from "./owner.ts";
import { SWITCHOVER } from "./start.ts";
import type { AgentState } from "./state.ts";
import { type Basis, type Generation, generation, type Mode, type PageRoute, type Role } from "./values.ts";

/** The generation that an agent would like to open, and whose promise it takes (any one of `ask`). */
export interface Wish {
  readonly mode: Mode;
  readonly validFrom: Generation;
  readonly ask: readonly Role[];
  readonly basis: Basis | null;
}

/**
 * What to strive for, as a function of what is known now; the table of PROTOCOL.md ("Who owns the VM"). Only source and
 * target can own the VM. Wishing harms nobody: the votes decide.
 */
export function wish(s: AgentState): Wish | null {
  if (s.phase === "idle" || s.phase === "lost" || s.phase === "closed-out" || s.phase === "completed") {
    return unnotedFinal(s) ?? wishWithoutMigration(s);
  }
  if (s.protect && isWhole(s)) return wishOfProtected(s);
  if (s.config.role === "target") return wishOfTarget(s);
  if (s.config.role === "source") return wishOfSource(s);
  return null;
}

/** A final owner that restarted before its last word was on disk asks for the same again. */
function unnotedFinal(s: AgentState): Wish | null {
  const { role } = s.config;
  if (role === "escrow" || s.vm !== "running" || isOwner(s)) return null;
  if (s.promised.owner !== role || s.promised.mode !== "final") return null;
  return ask("final", s.promised.validFrom, heard(s));
}

/** A whole VM is protected for as long as somebody wants it to be. */
function wishWithoutMigration(s: AgentState): Wish | null {
  if (!isWhole(s)) return null;
  if (s.protect) return wishOfProtected(s);
  const { mode } = s.opened;
  return isOwner(s) && (mode === "protected" || mode === "unprotected") ? ask("final", validFrom(s), heard(s)) : null;
}

/**
 * The VM is whole here, and wants protection: before a migration, after one, or without any. An owner that lets output out
 * freely goes on so until the escrow has a base; then the records of a new generation are what counts.
 */
function wishOfProtected(s: AgentState): Wish | null {
  const { role, unprotected, rules } = s.config;
  const other = role === "source" ? "target" : "source";
  const e = hears(s, "escrow");
  if (isFree(s.promised) && s.promised.owner !== role && !passedOver(s)) return null;
  // A claim of the other goes before ours, unless we have promised ourselves something newer: then it is too late.
  const yields = s.opened.owner === other && s.promised.generation <= s.opened.generation;
  if (yields && hears(s, other) && peerStatus(s, other)?.well === true) return null;
  // Another host's VM has gone on since, as somebody knows: ours is not the one any more. What that host has promised to
  // itself alone may never have been opened; when it is silent the escrow decides, and when the escrow is, its own vote.
  const succeeded = peersOf(role)
    .filter((peer) => peer === "escrow" || hears(s, other))
    .map((peer) => peerStatus(s, peer)?.promised)
    .some((d) => d?.owner === other && d.mode !== "claim" && d.generation > s.promised.generation);
  if (succeeded && (e || !hasLostIt(s, other))) return null;
  const free = isOwner(s) && isFree(s.opened);
  const tracked = s.untrackable === null || !rules.untrackableGivesUp;
  if (!tracked) return free ? null : ask("unprotected", validFrom(s), heard(s));
  const goesOn = unprotected === "go" || !rules.holdWaits;
  // What went out meanwhile is in no record before the next one; and relative to a new base there is none yet.
  if (free || s.base === "copying") {
    const based = s.base !== "none" && (s.base === "held" || s.baseCovered) && somebodyHasBase(s);
    if (e && (based || isOfferRefused(s))) return ask("protected", nextGeneration(s), ["escrow"]);
    if (free) return null;
  }
  if ((s.base !== "held" && s.base !== "following") || isHollow(s) || followsNoMore(s)) {
    if (goesOn) return inGrace(s) ? null : ask("unprotected", validFrom(s), heard(s));
    // Its owner again, behind a shut gate, it gives the escrow another one.
    return !isOwner(s) && e ? ask("protected", nextGeneration(s), ["escrow"]) : null;
  }
  if (e) {
    const there = s.peerEscrow?.promised;
    const pushed = (there?.generation ?? 0) > s.promised.generation || (there?.validFrom ?? 0) > s.opened.generation;
    return !isOwner(s) || s.reassert || pushed ? ask("protected", validFrom(s), ["escrow"]) : null;
  }
  // Silence may be our own doing: wait for a lease before giving protection up.
  return goesOn && hears(s, other) && !inGrace(s) ? ask("unprotected", validFrom(s), [other]) : null;
}

/** That host is heard, and has no VM, whatever it has promised itself. */
function hasLostIt(s: AgentState, other: Role): boolean {
  const there = peerStatus(s, other);
  return hears(s, other) && there?.well === false && (there.vm === "none" || there.vm === "gone");
}

/**
 * The escrow is heard, and has had no base for a lease: its host's memory was lost, and nobody else has one. Whatever it
 * stores restores nothing.
 */
export function isHollow(s: AgentState): boolean {
  if (s.base !== "held" || s.baseMissing_ms === null || !hears(s, "escrow") || somebodyHasBase(s)) return false;
  return hasSaidSince(s, s.baseMissing_ms) && s.config.rules.hollowIsNoProtection;
}

/**
 * The escrow has said the same for a lease, and still says so: the question that it answered last was asked a lease after
 * it was first heard to. An agent that was busy knows nothing by an old word.
 */
export function hasSaidSince(s: AgentState, since_ms: number): boolean {
  return s.heardEscrow_ms - since_ms > s.config.lease_ms;
}

/** Of leases, after which an owner thinks that its base is refused, and not merely on its way. */
const OFFER_LEASES = 2;

/**
 * The escrow keeps the base that it has, which was whole after all, and takes no other one: as far as it knows a
 * protection rests on it. But nothing is relative to it any more. In a generation from which on alone records count
 * nothing rests on it, and it takes what it is offered.
 */
function isOfferRefused(s: AgentState): boolean {
  const { base, offerUnheard_ms: since_ms, config } = s;
  if (base !== "copying" || since_ms === null || !isOwner(s) || !config.rules.refusedBaseComesAgain) return false;
  return s.heardEscrow_ms - since_ms > OFFER_LEASES * config.lease_ms;
}

/** The escrow is heard, and does not have what the VM left its first host with: no record will ever be relative to that. */
export function followsNoMore(s: AgentState): boolean {
  if (s.base !== "following" || s.cannotFollow_ms === null || !hears(s, "escrow")) return false;
  return hasSaidSince(s, s.cannotFollow_ms);
}

function wishOfTarget(s: AgentState): Wish | null {
  const e = hears(s, "escrow");
  const src = hears(s, "source");
  if (isFree(s.promised) && s.promised.owner !== "target" && !passedOver(s)) return null;
  if (s.vm === "running") {
    // A claim of the source goes before ours, unless we have promised ourselves something newer: then it is too late.
    const yields = s.opened.owner === "source" && s.promised.generation <= s.opened.generation;
    if (yields && src && s.peerSource?.well === true) return null;
    if (isOwner(s) && s.opened.mode === "final") return null;
    // The restored VM that ran under a vote for `final`, or one that has all its pages: nobody else is needed for it.
    if (s.allPages) return ask("final", validFrom(s), heard(s));
    const tracked = s.untrackable === null || !s.config.rules.untrackableGivesUp;
    // Without transactions the gate would stay shut for good. Whoever promises it knows that the log is void from then on.
    if (!tracked && !(isOwner(s) && s.opened.mode === "unprotected")) return ask("unprotected", validFrom(s), heard(s));
    const goesOn = s.config.unprotected === "go" || !s.config.rules.holdWaits;
    const follows = !followsNoMore(s);
    if (!follows && goesOn && !(isOwner(s) && s.opened.mode === "unprotected"))
      return ask("unprotected", validFrom(s), heard(s));
    if (isOwner(s) && s.opened.mode === "unprotected") {
      return e && tracked && follows ? ask("protected", validFrom(s), ["escrow"]) : null;
    }
    if (isOwner(s) && e) {
      const there = s.peerEscrow?.promised;
      const pushed = (there?.generation ?? 0) > s.promised.generation || (there?.validFrom ?? 0) > s.opened.generation;
      return s.reassert || pushed ? ask("protected", validFrom(s), ["escrow"]) : null;
    }
    if (e) return ask("protected", validFrom(s), ["escrow"]);
    // Silence may be our own doing: wait for a lease before giving protection up.
    if (src && !inGrace(s) && goesOn) return ask("unprotected", validFrom(s), ["source"]);
    return null;
  }
  if (s.vm === "ready") return readyWish(s, e ? ["escrow"] : src ? ["source"] : []);
  // A QEMU that waits for a protected VM whose host is gone waits in vain.
  const waits = s.vm === "incoming" && s.opened.generation > 0 && s.opened.owner === "source";
  if (s.vm !== "none" && s.vm !== "gone" && !(waits && s.config.rules.restoresWhileWaiting)) return null;
  // Our VM is dead and so is the source's host, or what it could make it of: only the escrow's copy of the base can bring it
  // back.
  const bound = isBoundToUs(s) || cannotRestore(s);
  if (s.ranFree || inGrace(s) || !e || (src && !bound) || isWell(s)) return null;
  // What went out freely is in no log. A free generation that we never opened let nothing out.
  if (isFree(s.promised) && s.promised.basis === null && s.everFree) return null;
  const escrow = s.peerEscrow;
  if (escrow === null || (escrow.hearsSource && !bound) || !escrow.baseComplete || escrow.log === null) return null;
  return claimedAlready(s) ? null : ask("claim", validFrom(s), ["escrow"]);
}

/**
 * The target asked the escrow for a newer generation while its log was still good, so it cannot have let anything out
 * freely before that: what this agent promised it for a time without protection was never opened, and now never will be.
 */
function passedOver(s: AgentState): boolean {
  const there = s.peerEscrow?.promised;
  if (there === undefined || s.promised.mode !== "unprotected" || there.owner !== s.promised.owner) return false;
  return (
    there.mode === "protected" && there.generation > s.promised.generation && there.validFrom <= s.promised.validFrom
  );
}

function wishOfSource(s: AgentState): Wish | null {
  if (s.phase === "precopy" || s.promised.generation === 0) return null;
  const e = hears(s, "escrow");
  const t = hears(s, "target");
  if (isFree(s.promised) && s.promised.owner !== "source" && !passedOver(s)) return null;
  if (s.vm === "ready") return readyWish(s, e ? ["escrow"] : t ? ["target"] : []);
  if (s.vm === "running") {
    return isOwner(s) ? null : ask("final", validFrom(s), heard(s));
  }
  if (s.vm !== "none" && s.vm !== "gone") return null;
  const { peerEscrow } = s;
  const base = s.hasBase || (peerEscrow?.hasBase === true && peerEscrow.baseComplete && peerEscrow.log !== null);
  if (!base || s.ranFree || inGrace(s) || claimedAlready(s)) return null;
  // What went out freely is in no log, and the host may have been lost before anybody else heard of that generation.
  if (s.promised.mode === "unprotected" && s.promised.owner === "source" && s.everFree) return null;
  const target = s.peerTarget;
  const helpless =
    target?.well === false && (target.vm === "none" || target.vm === "restoring") && target.promised.generation > 0;
  // It was protected here: the target never had it.
  const never = s.opened.owner === "source" && target?.vm === "none";
  const dead =
    never || helpless || (target !== null && (target.vm === "gone" || (target.vm === "incoming" && waitsInVain(s))));
  if (t && !dead && !isBoundToUs(s)) return null;
  if (e) return ask("claim", validFrom(s), ["escrow"]);
  // Nothing was ever committed and the target itself says so: the package is the last transaction.
  if (t && s.hasPackage && s.promised.validFrom <= 1 && target?.committed === -1)
    return ask("claim", validFrom(s), ["target"]);
  return null;
}

/**
 * The target's wait for the package is over: this source restarted meanwhile, or has promised itself a claim, or the target
 * has promised something else than what the package is in.
 */
function waitsInVain(s: AgentState): boolean {
  const there = s.peerTarget?.promised;
  const other = there !== undefined && there.generation >= s.promised.generation && there.mode !== s.promised.mode;
  return s.phase !== "switchover" || s.promised.owner === "source" || other;
}

/**
 * The source is heard, has lost its VM, and has heard nothing of the escrow, whose log it would have to be made of, for as long
 * as a peer has to be silent that is given up: there it would be made again in a moment, here after all of its base has come.
 */
function cannotRestore(s: AgentState): boolean {
  if (!hasLostIt(s, "source") || s.peerSource?.hearsEscrow !== false || s.sourceDeaf_ms === null) return false;
  return s.now_ms - s.sourceDeaf_ms > PATIENCE_LEASES * s.config.lease_ms;
}

/** The restored VM stands ready behind its claim: the second vote makes it the only one. */
function readyWish(s: AgentState, from: readonly Role[]): Wish | null {
  if (isOwner(s) && isFree(s.opened)) return null;
  return s.restored === null ? null : ask("final", validFrom(s), from, s.restored);
}

/**
 * The escrow has promised us that we restore the VM (for as long as it hears us), or run it: so nobody else goes on. And whoever is heard with an older VM
 * knows that it is not the one.
 */
function isBoundToUs(s: AgentState): boolean {
  const { role } = s.config;
  const there = s.peerEscrow?.promised;
  if (!hears(s, "escrow") || there?.owner !== role || there.generation === 0) return false;
  const other = role === "source" ? "target" : "source";
  return (there.mode === "claim" || there.mode === "final") && peerStatus(s, other)?.well === false;
}

function claimedAlready(s: AgentState): boolean {
  return isOwner(s) && s.opened.mode === "claim";
}

function ask(mode: Mode, from: Generation, roles: readonly Role[], basis: Basis | null = null): Wish | null {
  return roles.length === 0 ? null : { mode, validFrom: from, ask: roles, basis };
}

function heard(s: AgentState): readonly Role[] {
  return peersOf(s.config.role).filter((peer) => hears(s, peer));
}

/**
 * From which generation on a record has to be for the log to be good. After a time without protection (or one that
 * may have been: we promised it to ourselves) only records of the new generation count.
 */
function validFrom(s: AgentState): Generation {
  const own = s.everFree && s.promised.owner === s.config.role && s.promised.mode === "unprotected";
  if (own) return nextGeneration(s);
  const escrow = s.peerEscrow?.promised.validFrom ?? 0;
  return generation(Math.max(s.promised.validFrom, escrow));
}

/** A number that nobody has promised yet, as far as is known. */
export function nextGeneration(s: AgentState): Generation {
  let g = Math.max(s.seen, s.promised.generation, s.opened.generation);
  for (const peer of peersOf(s.config.role)) g = Math.max(g, peerStatus(s, peer)?.promised.generation ?? 0);
  // 1 is the switchover of a VM that was never protected; what is empty then is made up for by the package.
  return generation(Math.max(g + 1, s.protect ? SWITCHOVER.generation + 1 : 1));
}

/** Who answers the target's page requests. The base never changes, so any holder is as good as any other. */
export function pageRoute(s: AgentState): PageRoute {
  if (hears(s, "source")) return "direct";
  if (!hears(s, "escrow")) return "none";
  if (s.peerEscrow?.hearsSource === true) return "via-escrow";
  return s.baseCovered ? "escrow" : "none";
}
