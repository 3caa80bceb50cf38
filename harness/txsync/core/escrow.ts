import type { Action } from "./action.ts";
import type { Status } from "./message.ts";
import { isOwner, isWhole } from "./owner.ts";
import type { AgentState, Draft } from "./state.ts";
import type { Role } from "./values.ts";
import { persist, sameDescriptor } from "./votes.ts";

/**
 * Another escrow in the place of one that is gone. It knows of no promise that the one before it gave, so it may be counted
 * only where nothing rests on any of those: while the VM is `unprotected`. Both others have promised that generation, and
 * promise another one to nobody but its owner; whatever the newcomer promises to somebody else opens nothing.
 *
 * An operator names it to the VM's owner, the other host follows the owner's word; both keep on disk who the escrow is, and
 * answer nobody else in its role. It promises nothing, and stores nothing, before it has heard of the same unprotected
 * generation from both. From then on it is an escrow whose memory is empty.
 */
export function mayReplaceEscrow(s: AgentState): boolean {
  // What is being written has to be on disk first: who asks is told to ask again.
  return s.persisting === null && s.protect && isWhole(s) && isOwner(s) && s.opened.mode === "unprotected";
}

export function escrowReplaced(s: Draft, out: Action[], key: string): void {
  const { role, rules } = s.config;
  if (role === "escrow" || key === s.escrow || s.persisting !== null) return;
  if (rules.replacedWhileUnprotected ? mayReplaceEscrow(s) : isOwner(s)) answerTo(s, out, key);
}

/** Whoever has the VM says whom it answers as the escrow: the other host answers nobody else either. */
export function followEscrow(s: Draft, out: Action[], from: Role, { promised, opened, escrow }: Status): void {
  const { role, rules } = s.config;
  if (role === "escrow" || from === "escrow" || escrow === null || escrow === s.escrow || s.persisting !== null) return;
  const unprotected = promised.mode === "unprotected" && sameDescriptor(promised, s.promised);
  if (opened.owner !== from || !sameDescriptor(opened, promised)) return;
  if (unprotected || !rules.replacedWhileUnprotected) answerTo(s, out, escrow);
}

function answerTo(s: Draft, out: Action[], key: string): void {
  s.escrow = key;
  s.heardEscrow_ms = Number.NEGATIVE_INFINITY;
  s.peerEscrow = null;
  s.candidacy = null;
  s.baseMissing_ms = null;
  if (s.protect && isWhole(s)) {
    // It has nothing of this VM, and nothing of ours is relative to anything there.
    s.base = "none";
    s.tx = { ...s.tx, since: "base" };
  }
  persist(s, out, { descriptor: s.promised, opened: s.openedNoted }, { kind: "escrow" });
}

/** The newcomer has heard from both what it may not promise against. */
export function letInByBoth(s: Draft, out: Action[]): void {
  const { peerSource, peerTarget } = s;
  if (s.letIn || s.persisting !== null || peerSource === null || peerTarget === null) return;
  const { promised } = peerSource;
  const all = [peerTarget.promised, peerSource.opened, peerTarget.opened];
  if (promised.mode !== "unprotected" || !all.every((d) => sameDescriptor(d, promised))) return;
  s.letIn = true;
  persist(s, out, { descriptor: promised, opened: false }, { kind: "nothing" });
}
