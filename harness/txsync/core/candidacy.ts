import type { Action } from "./action.ts";
import { followsNoMore, isHollow, nextGeneration, type Wish, wish } from "./decide.ts";
import { openGate } from "./gate.ts";
import { hears, notePeer } from "./lease.ts";
import type { Status } from "./message.ts";
import { isFree, isOwner, isWhole } from "./owner.ts";
import type { AgentState, Draft } from "./state.ts";
import { beginGeneration, sayProtected, takeIfDue } from "./transactions.ts";
import { type Descriptor, frameNumber, generation, type LogState, type Role, transactionNumber } from "./values.ts";
import { persist, sameDescriptor } from "./votes.ts";

/**
 * The way of a candidate: ask who would promise -> promise to itself, on disk -> ask in earnest -> one promise more
 * opens the generation. Asked again at every heartbeat until it is answered or no longer wanted.
 */
export function pursue(s: Draft, out: Action[]): void {
  if (s.config.role === "escrow") return;
  const want = wish(s);
  const now = s.candidacy;
  if (want === null) {
    if (now !== null && (now.stage === "pre" || s.persisting === null)) s.candidacy = null;
    return;
  }
  if (now !== null && now.descriptor.mode === want.mode && now.descriptor.generation > s.opened.generation) {
    if (now.stage === "asking" && s.persisting !== null) return;
    const outbid = now.stage === "pre" ? s.seen >= now.descriptor.generation : s.seen > now.descriptor.generation;
    if (!outbid) {
      if (s.now_ms >= now.nextAsk_ms) askAll(s, out, now.descriptor, now.stage === "pre", want.ask);
      return;
    }
  }
  if (s.persisting !== null) return;
  if (s.config.rules.unprotectedNeedsVote === false && want.mode === "unprotected") {
    const descriptor = describe(s, want);
    persist(s, out, { descriptor, opened: false }, { kind: "nothing" });
    open(s, out, descriptor, null, null);
    return;
  }
  askAll(s, out, describe(s, want), true, want.ask);
}

function describe(s: Draft, want: Wish): Descriptor {
  const owner = s.config.role === "target" ? "target" : "source";
  return { generation: nextGeneration(s), owner, mode: want.mode, validFrom: want.validFrom, basis: want.basis };
}

function askAll(s: Draft, out: Action[], descriptor: Descriptor, pre: boolean, roles: readonly Role[]): void {
  if (s.candidacy === null || s.candidacy.descriptor.generation !== descriptor.generation) {
    out.push({ kind: "report", report: { what: "vote-asked", descriptor } });
  }
  for (const to of roles) out.push({ kind: "send", to, message: { kind: "ask", pre, descriptor, attempt: 0 } });
  s.candidacy = {
    descriptor,
    stage: pre ? "pre" : "asking",
    asked: roles,
    nextAsk_ms: s.now_ms + s.config.heartbeat_ms,
  };
}

/** The candidate's own promise is on disk. */
export function selfPromised(s: Draft, out: Action[]): void {
  const now = s.candidacy;
  if (now === null || !sameDescriptor(now.descriptor, s.promised)) return;
  askAll(s, out, now.descriptor, false, now.asked);
}

export function promiseCame(
  s: Draft,
  out: Action[],
  from: Role,
  pre: boolean,
  descriptor: Descriptor,
  status: Status,
): void {
  const { log, committed } = status;
  const now = s.candidacy;
  if (now === null || !sameDescriptor(now.descriptor, descriptor)) return;
  if (!now.asked.includes(from)) return;
  if (pre) {
    if (now.stage !== "pre" || s.persisting !== null || descriptor.generation <= s.promised.generation) return;
    s.candidacy = { ...now, stage: "asking", asked: [from], nextAsk_ms: s.now_ms + s.config.heartbeat_ms };
    persist(s, out, { descriptor, opened: false }, { kind: "candidate" });
    if (!s.config.rules.promiseDurable) selfPromised(s, out);
    return;
  }
  if (now.stage !== "asking" || !sameDescriptor(s.promised, descriptor)) return;
  if (s.persisting !== null && s.config.rules.promiseDurable) return;
  if (descriptor.mode === "claim" && from === "target" && committed !== -1) return;
  // Whether the escrow still has the base is known from here on: it gives it up for nothing that comes later.
  if (s.protect && from === "escrow") notePeer(s, from, status);
  open(s, out, descriptor, from, log);
}

/** Two of three have promised: the generation begins. */
function open(s: Draft, out: Action[], d: Descriptor, from: Role | null, log: LogState | null): void {
  s.opened = d;
  s.begun = d.generation;
  if (isFree(d)) s.everFree = true;
  s.openedNoted = false;
  s.candidacy = null;
  out.push({ kind: "report", report: { what: "generation-opened", descriptor: d } });
  switch (d.mode) {
    case "protected":
      beginGeneration(s, out, log);
      // Opened without one it gets one (`keepBased`); nothing is taken before. One that the escrow has not taken is none.
      if (s.base === "copying" && !s.baseCovered && s.config.rules.refusedBaseComesAgain) s.base = "none";
      else if (s.base !== "following" && (s.base !== "none" || !s.protect)) s.base = "held";
      s.baseMissing_ms = null;
      if (s.ranFree) {
        // What was restored and is protected now is restored again, if need be; nothing of it is still to come.
        s.ranFree = false;
        s.allPages = s.allPages || s.config.role === "target";
      }
      if (!isWhole(s)) s.phase = "draining";
      if (!s.config.rules.protectionWhenCommitted) sayProtected(s, out, d.generation, s.tx.next);
      openGate(s, out);
      takeIfDue(s, out, true);
      break;
    case "unprotected":
      beginGeneration(s, out, null);
      s.tx = { ...s.tx, committed: null, protectedIn: null };
      out.push({ kind: "report", report: { what: "protection-off", why: whyUnprotected(s) } });
      openGate(s, out);
      break;
    case "claim":
      // The promise names the last record there can be: no later one will be accepted.
      s.restoreFrom = basisOf(s, from === "escrow" ? log : null);
      s.vm = "none";
      s.runAsked = false;
      s.phase = s.phase === "watching" ? "draining" : s.phase;
      s.retry_ms = s.now_ms;
      if (s.config.role === "source") out.push({ kind: "stopPageServer" });
      break;
    case "final":
      if (s.config.role === "target" && s.vm === "running") beginGeneration(s, out, null);
      s.ranFree = s.vm === "running";
      s.phase = s.vm === "running" ? "completed" : "handoff";
      openGate(s, out);
      break;
  }
}

/** What a claim is restored from: where the log's last is the transaction that the VM left with, that is the package. */
function basisOf({ leftAt, hasPackage }: Draft, log: LogState | null): NonNullable<Draft["restoreFrom"]> {
  if (log === null) return { n: transactionNumber(0), from: "package" };
  const left = leftAt !== null && hasPackage && leftAt.n === log.last && leftAt.generation === log.generation;
  return { n: log.last, from: left ? "package" : "log" };
}

function whyUnprotected(s: AgentState): string {
  if (s.untrackable !== null) return s.untrackable;
  if (s.base === "following" && hears(s, "escrow"))
    return "the escrow does not have the transaction that this VM came with";
  return hears(s, "escrow") ? "the escrow has no base of this VM" : "the escrow is not heard";
}

/** A VM that is to be protected has its base at the escrow, or gets one there: where its output may leave meanwhile. */
function keepBased(s: Draft, out: Action[]): void {
  if (!s.protect || !isWhole(s)) return;
  if (s.config.role === "source") s.phase = s.phase === "precopy" ? s.phase : "idle";
  else if (s.phase === "draining" && s.opened.mode === "protected" && s.peerEscrow?.baseComplete === true)
    s.phase = "completed";
  if (!isFree(s.opened) && s.config.unprotected !== "hold") return;
  // What the escrow has is not what this VM left its first host with; where output leaves another base is begun at once.
  if (isHollow(s) || followsNoMore(s) || (s.base === "following" && isFree(s.opened))) s.base = "none";
  if (s.base !== "none" || !hears(s, "escrow")) return;
  s.base = "copying";
  s.baseCovered = false;
  s.baseMissing_ms = null;
  s.hasBase = false;
  s.hasPackage = false;
  // What was committed over the base before it is committed no more, and what is under way never will be.
  const { record } = s.tx;
  if (record !== null) out.push({ kind: "dropRecord", generation: record.generation, n: record.n });
  s.tx = { ...s.tx, stage: "idle", record: null, next: transactionNumber(Math.max(s.tx.next, (record?.n ?? 0) + 1)) };
  s.gate = { ...s.gate, committed: frameNumber(Math.min(s.gate.committed, s.gate.released)) };
  if (s.tx.protectedIn !== null) {
    s.tx = { ...s.tx, protectedIn: null };
    out.push({ kind: "report", report: { what: "protection-off", why: whyUnprotected(s) } });
  }
  out.push({ kind: "startProtection" });
}

/** What an owner does without being told: restore what it claimed, run what the second vote gave it. */
export function workAsOwner(s: Draft, out: Action[]): void {
  if (!isOwner(s)) return;
  keepBased(s, out);
  const { mode } = s.opened;
  if (mode === "claim" && (s.vm === "none" || s.vm === "gone") && s.restoreFrom !== null) {
    if (s.now_ms < s.retry_ms) return;
    s.vm = "restoring";
    out.push({ kind: "startRestore", generation: s.opened.generation, ...s.restoreFrom });
    return;
  }
  const mayRun = isFree(s.opened) || (mode === "claim" && !s.config.rules.runAfterVote);
  if (s.vm === "ready" && mayRun && !s.runAsked && !s.ranFree && s.now_ms >= s.retry_ms) {
    s.runAsked = true;
    if (!s.config.rules.restoreWhatNeverRan) s.ranFree = true;
    out.push({ kind: "runQemu" });
  }
  // Note on disk, at leisure, that the free generation was opened: a restart then need not ask for it again.
  if (isFree(s.opened) && s.opened.generation > 0 && s.persisting === null && !s.openedNoted) {
    s.openedNoted = true;
    persist(s, out, { descriptor: s.promised, opened: true }, { kind: "nothing" });
  }
}

/** What was opened elsewhere binds this agent too; and a promise below it would be void. */
export function adoptOpened(s: Draft, out: Action[]): void {
  const { opened, promised } = s;
  if (opened.generation < promised.generation) return;
  if (opened.generation === promised.generation && opened.owner === promised.owner) return;
  if (s.persisting !== null || s.replyAfterStore !== null || !s.letIn) return;
  s.candidacy = null;
  // Whoever lost records knows better than the owner from when on its log is good.
  const validFrom = generation(Math.max(opened.validFrom, promised.validFrom));
  persist(s, out, { descriptor: { ...opened, validFrom }, opened: false }, { kind: "nothing" });
}
