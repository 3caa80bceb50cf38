import type { Action } from "./action.ts";
import { nextGeneration, type Wish, wish } from "./decide.ts";
import { openGate } from "./gate.ts";
import type { Status } from "./message.ts";
import { isFree, isOwner } from "./owner.ts";
import type { Draft } from "./state.ts";
import { beginGeneration, sayProtected, takeIfDue } from "./transactions.ts";
import { type Descriptor, generation, type LogState, type Role, transactionNumber } from "./values.ts";
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
  { log, committed }: Status,
): void {
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
      s.phase = "draining";
      if (!s.config.rules.protectionWhenCommitted) sayProtected(s, out, d.generation, s.tx.next);
      openGate(s, out);
      takeIfDue(s, out, true);
      break;
    case "unprotected":
      beginGeneration(s, out, null);
      s.tx = { ...s.tx, committed: null };
      out.push({ kind: "report", report: { what: "protection-off", why: s.untrackable ?? "the escrow is not heard" } });
      openGate(s, out);
      break;
    case "claim":
      // The promise names the last record there can be: no later one will be accepted.
      s.restoreFrom =
        from === "escrow" && log !== null ? { n: log.last, from: "log" } : { n: transactionNumber(0), from: "package" };
      s.vm = "none";
      s.runAsked = false;
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

/** What an owner does without being told: restore what it claimed, run what the second vote gave it. */
export function workAsOwner(s: Draft, out: Action[]): void {
  if (!isOwner(s)) return;
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
  if (s.persisting !== null || s.replyAfterStore !== null) return;
  s.candidacy = null;
  // Whoever lost records knows better than the owner from when on its log is good.
  const validFrom = generation(Math.max(opened.validFrom, promised.validFrom));
  persist(s, out, { descriptor: { ...opened, validFrom }, opened: false }, { kind: "nothing" });
}
