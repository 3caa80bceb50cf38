import type { Status } from "./message.ts";
import type { AgentState, Draft } from "./state.ts";
import type { Descriptor, Role } from "./values.ts";

/** Of silence, before a migration is given up whose VM runs on at its source all the while. */
export const PATIENCE_LEASES = 4;

/**
 * Who is heard. "Hears" means an answered round trip whose question was sent within the lease, by the local clock;
 * so a one-way cut counts as a cut, and both ends of a link come to the same view. Leases only decide when to try
 * something; what is safe is decided by votes and commits, so a clock that runs wrong costs time and nothing else.
 */
export function hears(s: AgentState, peer: Role): boolean {
  return s.now_ms - heardAt(s, peer) <= s.config.lease_ms;
}

/**
 * Not heard for several leases: what is only a matter of patience is given up no earlier. Whoever is short of a processor
 * for a moment loses a lease by it, and no more.
 */
export function isGone(s: AgentState, peer: Role): boolean {
  return s.now_ms - heardAt(s, peer) > PATIENCE_LEASES * s.config.lease_ms;
}

/** Just started or just thawed: silence means nothing yet. */
export function inGrace(s: AgentState): boolean {
  return s.now_ms < s.graceUntil_ms;
}

/** How long a peer that is heard counts as heard if it says nothing more. */
export function leaseLeft_ms(s: AgentState, peer: Role): number {
  return heardAt(s, peer) + s.config.lease_ms - s.now_ms;
}

function heardAt(s: AgentState, peer: Role): number {
  return peer === "source" ? s.heardSource_ms : peer === "target" ? s.heardTarget_ms : s.heardEscrow_ms;
}

export function peerStatus(s: AgentState, peer: Role): Status | null {
  return peer === "source" ? s.peerSource : peer === "target" ? s.peerTarget : s.peerEscrow;
}

/** Notes an answer to a question that was sent at `sent_ms`. */
export function noteAnswer(s: Draft, peer: Role, sent_ms: number): void {
  if (sent_ms > s.now_ms) return;
  if (peer === "source") s.heardSource_ms = Math.max(s.heardSource_ms, sent_ms);
  else if (peer === "target") s.heardTarget_ms = Math.max(s.heardTarget_ms, sent_ms);
  else s.heardEscrow_ms = Math.max(s.heardEscrow_ms, sent_ms);
}

/** Lives that are remembered: a status that is later than so many restarts of its sender is not expected. */
const SUPERSEDED_MAX = 8;

/** Keeps the newest status: of the same life the one said last, of several lives the last life's. */
export function notePeer(s: Draft, peer: Role, status: Status): void {
  const known = peerStatus(s, peer);
  if (s.superseded.includes(status.incarnation)) return;
  const same = known?.incarnation === status.incarnation || !s.config.rules.incarnationTellsLives;
  if (known !== null && same && status.at_ms < known.at_ms) return;
  if (known !== null && !same) s.superseded = [...s.superseded, known.incarnation].slice(-SUPERSEDED_MAX);
  keep(s, peer, status);
}

function keep(s: Draft, peer: Role, status: Status): void {
  if (peer === "source") s.peerSource = status;
  else if (peer === "target") s.peerTarget = status;
  else s.peerEscrow = status;
}

/** A refusal tells, sooner than the next status, from when on records count: who asks again asks for that. */
export function noteValidFrom(s: Draft, peer: Role, { validFrom }: Descriptor): void {
  const known = peerStatus(s, peer);
  if (known === null || known.promised.validFrom >= validFrom) return;
  keep(s, peer, { ...known, promised: { ...known.promised, validFrom } });
}

/**
 * Moves the local clock. An agent that did not run for longer than a lease (it was frozen) has heard nobody through
 * its own fault: it gets one lease of grace before silence counts again.
 */
export function advanceClock(s: Draft, now_ms: number): void {
  if (now_ms - s.now_ms > s.config.lease_ms) s.graceUntil_ms = now_ms + s.config.lease_ms;
  if (now_ms > s.now_ms) s.now_ms = now_ms;
}

const PEERS: Readonly<Record<Role, readonly Role[]>> = {
  source: ["target", "escrow"],
  target: ["source", "escrow"],
  escrow: ["source", "target"],
};

export function peersOf(role: Role): readonly Role[] {
  return PEERS[role];
}
