import type { Action } from "./action.ts";
import { nextGeneration } from "./decide.ts";
import { hears, inGrace, isGone, peersOf } from "./lease.ts";
import { isOwner, lacksBase, statusOf } from "./owner.ts";
import { SWITCHOVER } from "./start.ts";
import type { Draft } from "./state.ts";
import type { Descriptor, Generation, Role, TransactionNumber } from "./values.ts";
import { persist } from "./votes.ts";

/**
 * Of leases, for which a VM stands still whose last transaction here is not stored, while nothing of it moves or the escrow
 * cannot store it, or not settled; and at most, or twice as long as the record before took, which is of a size with it: then it
 * goes on where it is.
 */
const STAND_LEASES = 3;
const STAND_LEASES_MAX = 20;
/** One that runs waits so long for an escrow that can store none of its records: none would be its last. */
const STORE_LEASES = 20;

/**
 * The migration of a VM that is protected where it runs. Memory is copied ahead while transactions go on; the last one here
 * is the switchover: the VM stands still until the escrow has it, and the source promises the next generation to itself for
 * the target, on disk, before the package leaves. Up to that promise it can simply go on, in the generation that it has;
 * from then on only by a claim, like anybody else.
 */
export function mayLeave(s: Draft): boolean {
  return isProtected(s) && s.base === "held" && s.tx.protectedIn === s.opened.generation && !lacksBase(s);
}

function isProtected(s: Draft): boolean {
  return s.protect && isOwner(s) && s.opened.mode === "protected";
}

/** Asks the target to have a QEMU that waits. Nothing is promised by that. */
export function joinProtected(s: Draft, out: Action[]): void {
  out.push({ kind: "send", to: "target", message: { kind: "join", attempt: s.attempt } });
}

/** Target: a protected VM is to come from where it runs. Whatever becomes of it this host may still be asked to restore it. */
export function joinAsked(s: Draft, out: Action[], from: Role, attempt: number): void {
  if (s.config.role !== "target" || from !== "source") return;
  const theirs = s.opened.owner === "source" && s.opened.mode === "protected" && s.promised.owner === "source";
  if ((s.vm === "none" || s.vm === "gone") && theirs && s.candidacy === null && s.persisting === null) {
    s.vm = "incoming";
    s.incomingSince_ms = s.now_ms;
    s.attempt = attempt;
  }
  if (s.vm !== "incoming" || s.attempt !== attempt) return;
  out.push({ kind: "send", to: "source", message: { kind: "joined", attempt, status: statusOf(s) } });
}

/** @returns why it cannot go on, where one of the others is silent in that sense */
export function unheard(isSilent: (peer: Role) => boolean): string | undefined {
  const silent = peersOf("source").find(isSilent);
  return silent === undefined ? undefined : `the ${silent} is not heard`;
}

/** For how long the escrow has been saying, and says now, that it cannot store the record under way. */
function unstoredFor(s: Draft): number {
  const { stage, unstored, sent_ms } = s.tx;
  // Sent again since, it may be on its way; and what was so before the migration was asked for may be over.
  if (stage !== "sent" || unstored === null || sent_ms !== unstored.said_ms) return 0;
  return s.now_ms - Math.max(unstored.since_ms, s.attempt);
}

/** @returns why the attempt has come to nothing, and the VM goes on here; undefined where it has not */
export function leavesInVain(s: Draft): string | undefined {
  const { leaving, tx } = s;
  const { lease_ms } = s.config;
  const stands = leaving !== null && leaving.stage !== "wanted";
  // A VM that stands still has no time to lose; one that runs has.
  const silent = unheard((peer) => (stands ? !hears(s, peer) : isGone(s, peer)));
  if (!inGrace(s) && silent !== undefined) return silent;
  const unstored_ms = unstoredFor(s);
  if (!stands) return unstored_ms > STORE_LEASES * lease_ms ? "the escrow cannot store what it is sent" : undefined;
  if (!mayLeave(s)) return "the VM is not protected any more";
  if (leaving.stage === "settling")
    return s.now_ms - leaving.since_ms > STAND_LEASES * lease_ms ? "its disks take too long" : undefined;
  if (leaving.stage !== "standing") return undefined;
  if (tx.record?.n !== leaving.n) return "the escrow did not take its last transaction";
  if (unstored_ms > STAND_LEASES * lease_ms) return "the escrow cannot store its last transaction";
  // What is whole there has no more bytes that move: to store it takes as long as it took before, or twice that.
  const storing_ms = s.peerEscrow?.storing?.n === leaving.n ? 2 * tx.stored_in_ms : 0;
  if (s.now_ms - leaving.moved_ms > Math.max(STAND_LEASES * lease_ms, storing_ms))
    return "nothing moves of its last transaction";
  const most_ms = Math.max(STAND_LEASES_MAX * lease_ms, 2 * tx.took_ms);
  return s.now_ms - leaving.since_ms > most_ms ? "its last transaction takes too long" : undefined;
}

export function lastTaken(s: Draft, n: TransactionNumber): void {
  if (s.leaving?.stage !== "taking" || s.leaving.n !== n) return;
  s.leaving = { stage: "standing", n, since_ms: s.now_ms, moved_ms: s.now_ms };
}

/** Bytes of it are on their way: a guest that writes much has much in its last transaction. */
export function lastMoves(s: Draft, n: TransactionNumber): void {
  if (s.leaving?.stage === "standing" && s.leaving.n === n) s.leaving = { ...s.leaving, moved_ms: s.now_ms };
}

export function lastCommitted(s: Draft, generation: Generation, n: TransactionNumber): void {
  if (s.leaving?.stage !== "standing" || s.leaving.n !== n || s.opened.generation !== generation) return;
  s.leaving = s.config.settles === true ? { stage: "settling", n, since_ms: s.now_ms } : { stage: "stored", n };
}

export function lastSettled(s: Draft, n: TransactionNumber): void {
  if (s.leaving?.stage === "settling" && s.leaving.n === n) s.leaving = { stage: "stored", n };
}

/** The escrow has the last transaction, and the target finds all of it: the source will have this VM no more but by a claim. */
export function leaveWhenStored(s: Draft, out: Action[]): void {
  if (s.leaving === null || s.persisting !== null || !mayLeave(s)) return;
  const { leaving } = s;
  const sooner = !s.config.rules.leavesWhenStored && leaving.stage === "standing";
  if (s.vm !== "running" || leaving.stage === "wanted" || (leaving.stage !== "stored" && !sooner)) return;
  const { n } = leaving;
  const descriptor: Descriptor = {
    generation: nextGeneration(s),
    owner: "target",
    mode: "protected",
    // What the log has is good: nothing went out that is not in it.
    validFrom: s.promised.validFrom,
    basis: null,
  };
  s.leftAt = { generation: s.opened.generation, n };
  s.leaving = null;
  s.protect = false;
  s.base = "none";
  s.phase = "switchover";
  s.vm = "none";
  s.candidacy = null;
  s.hasBase = true;
  s.hasPackage = true;
  persist(s, out, { descriptor, opened: false }, { kind: "switchover" });
}

/** Target: the escrow's word, whether it has what the base of this VM is made of. */
export function noteFollows(s: Draft): void {
  const escrow = s.peerEscrow;
  if (s.base !== "following" || escrow === null) return;
  const can = escrow.baseComplete && escrow.log?.last === s.leftAt?.n;
  s.cannotFollow_ms = can ? null : (s.cannotFollow_ms ?? s.now_ms);
}

/** A VM whose switchover is not that of a VM that nobody protected before. */
export function isFollowedOn(d: Descriptor): boolean {
  return d.generation > SWITCHOVER.generation && d.owner === "target" && d.mode === "protected";
}
