import type { Action } from "./action.ts";
import { hears, peerStatus, peersOf } from "./lease.ts";
import type { Status } from "./message.ts";
import type { AgentState, Draft } from "./state.ts";
import type { Descriptor, Phase } from "./values.ts";

/** Output leaves without waiting in such a generation: nobody but its owner can supersede it. */
export function isFree(d: Descriptor): boolean {
  return d.mode === "unprotected" || d.mode === "final";
}

/** This agent owns the present generation: it began it in this life, and promised nothing newer since. */
export function isOwner(s: AgentState): boolean {
  const { opened } = s;
  if (opened.owner !== s.config.role || opened.generation !== s.promised.generation) return false;
  return s.begun === opened.generation || !s.config.rules.restartOpensGeneration;
}

export function lettingOutFreely(s: AgentState): boolean {
  return isOwner(s) && isFree(s.opened);
}

/**
 * An agent that comes up again beside a VM that runs may let it go on: it is nobody else's. A generation that was opened
 * meanwhile has the promises of both others, so either of them knows; who has not been heard yet says nothing.
 */
export function mayGoOn(s: AgentState): boolean {
  const { role } = s.config;
  if (s.vm !== "running" || s.promised.owner !== role) return false;
  // Nobody can take over from a free owner, nor what no one but the source has been promised yet.
  if (lettingOutFreely(s) || (role === "source" && s.promised.generation === 0)) return true;
  const heard = peersOf(role)
    .map((peer) => peerStatus(s, peer))
    .filter((status) => status !== null);
  return heard.length > 0 && heard.every(({ promised }) => promised.owner === role);
}

/** "I have the VM and can go on with it": while a peer hears that, it promises to nobody else. */
export function isWell(s: AgentState): boolean {
  const { role } = s.config;
  // An owner that restarted does not know yet what it had opened; what it promised tells whose VM this is.
  const latest = s.promised.generation > s.opened.generation ? s.promised : s.opened;
  if (role === "escrow" || latest.owner !== role) return false;
  if (s.vm === "running" || s.vm === "loading") return true;
  if (!isOwner(s)) return false;
  if (isFree(s.opened)) return s.vm === "ready" || s.vm === "restoring";
  // Without the escrow a claim gives way to a target that still has the VM: that loses nothing.
  return s.opened.mode === "claim" && hears(s, "escrow");
}

export function statusOf(s: AgentState): Status {
  const { storing } = s;
  return {
    incarnation: s.incarnation,
    at_ms: s.now_ms,
    promised: s.promised,
    opened: s.opened,
    vm: s.vm,
    well: isWell(s),
    committed: s.tx.committed,
    log: s.log,
    storing: storing === null ? null : { generation: storing.generation, n: storing.n },
    hearsSource: s.config.role === "source" || hears(s, "source"),
    hearsTarget: s.config.role === "target" || hears(s, "target"),
    hearsEscrow: s.config.role === "escrow" || hears(s, "escrow"),
    baseComplete: s.baseComplete,
    hasBase: s.hasBase && s.vm !== "running",
    phase: s.phase,
    escrow: s.escrow,
  };
}

/**
 * Takes note of a generation that was opened. It is a chosen value: whoever hears of it may rely on it. A VM of an
 * older generation is closed out here: removed if the new one lets output out freely, else kept still behind its shut
 * gate, because a claim may yet fail.
 */
export function learnOpened(s: Draft, out: Action[], d: Descriptor): void {
  if (d.generation <= s.opened.generation) return;
  const { role } = s.config;
  if (lettingOutFreely(s) && d.owner !== role) {
    out.push({
      kind: "report",
      report: { what: "violation", why: `generation ${d.generation} was opened over a free one` },
    });
  }
  if (s.opened.owner === role && d.owner !== role) {
    out.push({ kind: "report", report: { what: "generation-closed", descriptor: s.opened } });
  }
  s.opened = d;
  if (d.generation > s.seen) s.seen = d.generation;
  if (s.candidacy !== null && s.candidacy.descriptor.generation <= d.generation) s.candidacy = null;
  if (d.owner === role && isFree(d)) {
    s.begun = d.generation;
    s.everFree = true;
  }
  if (d.mode !== "final") beginAgain(s);
  if (role === "escrow" || d.owner === role) return;
  if (d.mode === "protected" && OVER.includes(s.phase)) s.phase = "watching";
  // A `final` of ours that was opened would have bound a majority to us: it was not, so nothing ran under it. Of one that
  // came after this generation that says nothing.
  if (d.generation >= s.promised.generation) s.ranFree = false;
  s.runAsked = false;
  if (isFree(d) && d.mode === "final") closeOut(s, out);
  else if (s.vm === "running" && d.mode !== "claim") {
    // Another host's VM has gone on since: ours will never be the one again. It may be made again here, of the log.
    closeOut(s, out);
    s.phase = "watching";
  } else if (s.vm === "restoring" || s.vm === "ready") {
    out.push({ kind: "abortRestore" });
    s.vm = "none";
    s.restored = null;
    s.restoreFrom = null;
    if (role === "source") out.push({ kind: "startPageServer" });
  }
}

/** No migration is under way for who is in one of these. */
const OVER: readonly Phase[] = ["idle", "completed", "closed-out"];

/** What was over is not over any more: a VM that had been let go of is protected. */
function beginAgain(s: Draft): void {
  s.finished = false;
  if (s.config.role !== "escrow") return;
  // What is heard late, of a generation before the one that the base was adopted in, says nothing of it.
  if (s.opened.mode === "protected" && s.opened.generation >= s.promised.generation) s.base = "none";
  if (s.phase === "completed") s.phase = "idle";
}

/** The whole VM is here: nothing of it is still to come from anywhere. */
export function isWhole(s: AgentState): boolean {
  return s.vm === "running" && (s.config.role === "source" || s.allPages || s.ranFree);
}

/** There is something beside this host to lay the log over. */
export function somebodyHasBase(s: AgentState): boolean {
  if (hears(s, "escrow") && s.peerEscrow?.baseComplete === true) return true;
  return s.config.role === "target" && hears(s, "source") && s.peerSource?.hasBase === true;
}

/** A whole VM that is protected, and of which a committed transaction restores nothing: there is no base to lay it over. */
export function lacksBase(s: AgentState): boolean {
  return s.protect && isWhole(s) && s.config.rules.hollowIsNoProtection && !somebodyHasBase(s);
}

/** Another owner has the VM for good: nothing of ours may live on. */
function closeOut(s: Draft, out: Action[]): void {
  const { role } = s.config;
  if (s.vm !== "none" && s.vm !== "gone") {
    out.push({ kind: "stopQemu" });
    out.push({ kind: "report", report: { what: "closed-out" } });
    s.vm = "gone";
  }
  s.restoreFrom = null;
  s.protect = false;
  s.leaving = null;
  s.base = "none";
  s.phase = role === "source" ? "completed" : "closed-out";
}

/**
 * Once the final owner is known to run, the others let go of what they kept for it. A host that is cut off from the owner
 * for good hears it from the escrow, which has let go.
 */
export function finishWhenSettled(s: Draft, out: Action[]): void {
  const { opened } = s;
  if (s.config.role === "escrow" && s.base === "held") return;
  if (s.finished || opened.mode !== "final" || opened.generation === 0 || opened.owner === s.config.role) return;
  const owner = peerStatus(s, opened.owner);
  const runs = owner?.vm === "running" && owner.opened.generation >= opened.generation;
  const escrow = s.config.role === "escrow" ? null : peerStatus(s, "escrow");
  const told = escrow?.phase === "completed" && escrow.opened.generation >= opened.generation;
  if (!runs && !told) return;
  s.finished = true;
  s.hasBase = false;
  if (s.config.role === "escrow") s.phase = "completed";
  out.push({ kind: "finish" });
}
