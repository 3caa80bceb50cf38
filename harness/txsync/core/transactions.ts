import type { Action } from "./action.ts";
import { openGate } from "./gate.ts";
import { hears, inGrace } from "./lease.ts";
import { lastCommitted, lastMoves, mayLeave } from "./leave.ts";
import type { AppendRefusal, Message, RecordHeader, RecordId } from "./message.ts";
import { isOwner, lacksBase, learnOpened, statusOf } from "./owner.ts";
import { patience } from "./start.ts";
import type { AgentState, Draft } from "./state.ts";
import {
  type FrameNumber,
  frameNumber,
  type Generation,
  type LogState,
  type Owner,
  type Role,
  type TransactionNumber,
  transactionNumber,
} from "./values.ts";
import { replyPromise } from "./votes.ts";

/** So many leases at most a record waits that the escrow's disk did not take: protection is back within a bound. */
const PATIENCE_LEASES_MAX = 2;

/**
 * Transactions. The VM's host: take n, send it, wait for the escrow's word; at most one is under way, so memory is bounded,
 * and when the escrow is slow epochs stretch. Escrow: store a record whole if it is of the generation promised and
 * follows the last one. A number whose record's fate is unknown is never used again within the same generation.
 *
 * A record holds what changed since the escrow's last record, whatever was taken and dropped in between: so a gap in
 * protection costs what changed in it, and nothing has to be learned or forgotten for a record to be right.
 */
export function takeIfDue(s: Draft, out: Action[], force: boolean): void {
  if (s.config.role === "escrow" || s.vm !== "running" || s.tx.stage !== "idle") return;
  // Until the escrow has all of it nothing is relative to it.
  if (s.base === "copying" || s.base === "following" || (s.base === "none" && s.protect)) return;
  // The VM stands still, and leaves or goes on.
  if (s.leaving !== null && s.leaving.stage !== "wanted") return;
  if (!isOwner(s) || s.opened.mode !== "protected" || s.reassert || !hears(s, "escrow")) return;
  if (s.untrackable !== null) return;
  const { hold, lastTaken_ms } = s.tx;
  if ((!force || hold) && s.now_ms - lastTaken_ms < s.config.epoch_ms / 2) return;
  const n = nextNumber(s);
  s.tx = { ...s.tx, next: n, stage: "taking", lastTaken_ms: s.now_ms };
  const last = s.leaving !== null && hears(s, "target") && mayLeave(s);
  if (last) s.leaving = { stage: "taking", n };
  const { generation } = s.opened;
  out.push({ kind: "takeTransaction", generation, n, since: s.tx.since, ...(last ? { last } : {}) });
}

function nextNumber(s: Draft): TransactionNumber {
  if (s.config.rules.restartOpensGeneration) return s.tx.next;
  return transactionNumber(Math.max(s.tx.next, (s.peerEscrow?.log?.last ?? 0) + 1));
}

export function taken(s: Draft, out: Action[], generation: Generation, n: TransactionNumber, mark: FrameNumber): void {
  if (s.tx.stage !== "taking" || s.tx.next !== n || !isOwner(s) || s.opened.generation !== generation) {
    // Asked for in another life of ours: it was never sent, so its number may be used again.
    out.push({ kind: "dropRecord", generation, n });
    return;
  }
  const { rules } = s.config;
  const record: RecordHeader = { generation, n, since: s.tx.since, mark, acked: s.gate.acked };
  s.tx = { ...s.tx, stage: "sent", next: transactionNumber(n + 1), record, sent_ms: s.now_ms };
  s.tx = { ...s.tx, patience_ms: patience(s.config), unstored: null };
  if (!rules.sinceIsStored) s.tx = { ...s.tx, since: n };
  out.push({ kind: "send", to: "escrow", message: { kind: "append", ...record } });
  openGate(s, out);
}

export function takingFailed(s: Draft, generation: Generation, n: TransactionNumber): void {
  if (s.tx.stage !== "taking" || s.tx.next !== n || s.opened.generation !== generation) return;
  s.tx = { ...s.tx, stage: "idle", hold: true };
  if (!s.config.rules.gapCostsWhatChanged) s.tx = { ...s.tx, since: "base" };
}

/** Bytes of the record are on their way: its size is not the escrow's silence. */
export function moving(s: Draft, generation: Generation, n: TransactionNumber): void {
  const { record } = s.tx;
  if (record?.generation !== generation || record.n !== n || !s.config.rules.movingIsNotSilent) return;
  s.tx = { ...s.tx, sent_ms: s.now_ms };
  lastMoves(s, n);
}

/**
 * Record or answer may have been lost with a link: the escrow answers a repeat without storing it twice. While bytes of
 * it move, or the escrow says that it is storing it, neither is lost.
 */
export function resendIfSilent(s: Draft, out: Action[]): void {
  const { record } = s.tx;
  if (s.tx.stage !== "sent" || record === null || !isOwner(s)) return;
  if (s.now_ms - s.tx.sent_ms < s.tx.patience_ms || !hears(s, "escrow")) return;
  const storing = s.peerEscrow?.storing;
  if (storing?.generation === record.generation && storing.n === record.n) return;
  s.tx = { ...s.tx, sent_ms: s.now_ms };
  out.push({ kind: "send", to: "escrow", message: { kind: "append", ...record } });
}

/** The escrow's status names its last record: as good as the answer, which may have been lost. */
export function noteLog(s: Draft, out: Action[], log: LogState | null): void {
  if (log !== null) committed(s, out, log.generation, log.last);
}

export function committed(s: Draft, out: Action[], generation: Generation, n: TransactionNumber): void {
  const { record } = s.tx;
  if (record === null || record.n !== n || record.generation !== generation) return;
  // Promised to another: sealed, even for what it is told late.
  if (!isOwner(s) || s.opened.generation !== generation) return;
  // How long a storage failed, or this agent stood still, says nothing of how much a record is.
  const measured = s.tx.unstored === null && !inGrace(s);
  const took_ms = measured ? s.now_ms - s.tx.lastTaken_ms : s.tx.took_ms;
  const stored_in_ms = measured ? s.now_ms - s.tx.sent_ms : s.tx.stored_in_ms;
  s.tx = {
    ...s.tx,
    stage: "idle",
    record: null,
    since: n,
    refused: 0,
    hold: false,
    committed: n,
    took_ms,
    stored_in_ms,
  };
  s.gate = { ...s.gate, committed: frameNumber(Math.max(s.gate.committed, record.mark)) };
  out.push({ kind: "forgetRecord", generation, n });
  out.push({ kind: "report", report: { what: "committed", generation, n } });
  sayProtected(s, out, generation, n);
  openGate(s, out);
  lastCommitted(s, generation, n);
  if (s.gate.produced > s.gate.committed || s.leaving?.stage === "wanted") takeIfDue(s, out, true);
}

/** Once a generation, and again after protection was said to be off. */
export function sayProtected(s: Draft, out: Action[], generation: Generation, n: TransactionNumber): void {
  if (s.tx.protectedIn === generation || lacksBase(s)) return;
  s.tx = { ...s.tx, protectedIn: generation };
  out.push({ kind: "report", report: { what: "protection-on", generation, n, covered: s.baseCovered || s.allPages } });
}

/**
 * A generation of ours begins: the record under way is given up (the escrow's word says whether it was stored), and
 * the next one is relative to the last that was. Records of before a time without protection are good for that too: they
 * are what the escrow has, they only restore nothing any more.
 */
export function beginGeneration(s: Draft, out: Action[], log: LogState | null): void {
  const { record } = s.tx;
  const { rules } = s.config;
  if (record !== null) {
    const kept = record.n === log?.last && record.generation === log.generation;
    out.push({ kind: kept ? "forgetRecord" : "dropRecord", generation: record.generation, n: record.n });
  }
  const stored = log !== null && (s.promised.validFrom <= log.generation || !rules.logMustBeValid);
  s.tx = {
    ...s.tx,
    stage: "idle",
    record: null,
    since: s.base === "copying" ? "base" : rules.sinceIsStored ? sinceOf(s, log) : s.tx.since,
    hold: false,
    next: transactionNumber(Math.max(s.tx.next, (log?.last ?? 0) + 1)),
    // After a time without protection only a record of the new generation holds all that was let out.
    committed: stored && log !== null ? Math.max(log.last, s.tx.committed ?? -1) : s.tx.committed,
  };
  if (stored && log !== null) {
    s.gate = { ...s.gate, committed: frameNumber(Math.min(s.gate.produced, Math.max(s.gate.committed, log.mark))) };
  }
  s.reassert = false;
}

/** An escrow that distrusts what it has of us gets all that ever changed. */
function sinceOf(s: Draft, log: LogState | null): TransactionNumber | "base" {
  return log === null || s.tx.refused > 0 || !s.config.rules.gapCostsWhatChanged ? "base" : log.last;
}

/** The escrow did not store the record under way. */
export function appendRefused(s: Draft, out: Action[], refused: Extract<Message, { kind: "append-refused" }>): void {
  const { generation, n, promised, log, why } = refused;
  if (promised.generation > s.seen) s.seen = promised.generation;
  const { record } = s.tx;
  if (!isOwner(s) || generation !== s.opened.generation || record?.n !== n || record.generation !== generation) return;
  if (why === "generation" || promised.validFrom > generation) {
    s.reassert = true;
    return;
  }
  if (why === "cannot-store") {
    cannotBeStored(s);
    return;
  }
  if (why === "violation") distrusted(s, out, n);
  out.push({ kind: "dropRecord", generation, n });
  s.tx = {
    ...s.tx,
    stage: "idle",
    record: null,
    since: sinceOf(s, log),
    hold: true,
    next: transactionNumber(Math.max(s.tx.next, (log?.last ?? 0) + 1)),
  };
}

/** Another record would fare no better, and this one is taken already: it is kept, and sent again ever more seldom. */
function cannotBeStored(s: Draft): void {
  const { lease_ms, rules } = s.config;
  const most_ms = rules.failedStoreIsTriedAgain ? PATIENCE_LEASES_MAX * lease_ms : Number.POSITIVE_INFINITY;
  const patience_ms = Math.min(2 * s.tx.patience_ms, most_ms);
  const unstored = { since_ms: s.tx.unstored?.since_ms ?? s.now_ms, said_ms: s.now_ms };
  s.tx = { ...s.tx, sent_ms: s.now_ms, patience_ms, unstored };
}

/** Once may be a record that went wrong: the next one holds everything. Twice means that we cannot be protected. */
function distrusted(s: Draft, out: Action[], n: TransactionNumber): void {
  const { refused } = s.tx;
  s.tx = { ...s.tx, refused: Math.min(2, refused + 1) };
  if (refused !== 1) return;
  s.tx = { ...s.tx, protectedIn: null };
  const why = `the escrow refuses what it gets: record ${n}, which holds everything, contradicts its log too`;
  out.push({ kind: "report", report: { what: "violation", why } });
  out.push({ kind: "report", report: { what: "protection-off", why } });
}

/** Escrow: a record came in. */
export function append(s: Draft, out: Action[], from: Role, header: RecordHeader): void {
  const { generation, n, since } = header;
  const d = s.promised;
  const { rules } = s.config;
  if (s.config.role !== "escrow" || from === "escrow") return;
  const valid = d.validFrom <= generation || !rules.logMustBeValid;
  const current = d.generation === generation && d.owner === from && d.mode === "protected" && valid;
  if (rules.refuseOldRecords && !current) {
    refuse(s, out, from, header, "generation");
    return;
  }
  if (s.persisting !== null || s.storing !== null) {
    // Looked at when that is written. At most one is under way: what came before is not wanted any more.
    s.waiting = header;
    s.waitingFrom = from;
    return;
  }
  if (s.log !== null && s.log.last === n && s.log.generation === generation) {
    appended(s, out, from, { generation, n });
    return;
  }
  const last = s.log?.last ?? 0;
  // A late repeat of what was long answered for.
  if (s.log !== null && s.log.generation === generation && n < last) return;
  if (n <= last || (since !== "base" && since !== s.log?.last && rules.sinceIsStored)) {
    refuse(s, out, from, header, "gap");
    return;
  }
  const wrong = contradiction(s.log, header);
  if (wrong !== null && rules.escrowDistrusts) {
    violation(s, out, from, header, wrong);
    return;
  }
  s.storing = header;
  s.storingFrom = from;
  out.push({ kind: "storeRecord", header });
}

function refuse(s: Draft, out: Action[], to: Owner, { generation, n }: RecordId, why: AppendRefusal): void {
  const { promised, log } = s;
  out.push({ kind: "send", to, message: { kind: "append-refused", generation, n, promised, log, why } });
}

/** What an escrow can see by itself: output is only ever added to. */
function contradiction(log: LogState | null, { mark, acked }: RecordHeader): string | null {
  if (log !== null && mark < log.mark) return `its mark is ${mark}, the log's is ${log.mark}`;
  if (acked > mark) return `frame ${acked} has arrived outside, its mark is ${mark}`;
  return null;
}

function violation(s: Draft, out: Action[], from: Owner, header: RecordHeader, what: string): void {
  const why = `record ${header.n} of generation ${header.generation} was refused: ${what}`;
  out.push({ kind: "report", report: { what: "violation", why } });
  refuse(s, out, from, header, "violation");
}

/** Escrow: the record under way is stored whole. */
export function stored(s: Draft, out: Action[], n: TransactionNumber): void {
  const header = s.storing;
  if (header === null || header.n !== n) return;
  s.storing = null;
  s.log = { last: header.n, generation: header.generation, mark: header.mark, acked: header.acked };
  if (s.cannotStore) {
    s.cannotStore = false;
    out.push({ kind: "report", report: { what: "stores-again" } });
  }
  // Only an owner that had opened its generation sends records of it: this is how the escrow knows.
  if (s.promised.generation === header.generation) learnOpened(s, out, s.promised);
  // A newer promise may have come meanwhile; it has not been sent yet and will name this record.
  appended(s, out, s.storingFrom, header);
  afterStore(s, out);
}

function appended(s: AgentState, out: Action[], to: Role, { generation, n }: RecordId): void {
  out.push({ kind: "send", to, message: { kind: "appended", generation, n, status: statusOf(s) } });
}

/** Escrow: the record under way was not stored. */
export function storingFailed(s: Draft, out: Action[], n: TransactionNumber, why: string | null): void {
  const header = s.storing;
  if (header === null || header.n !== n) return;
  s.storing = null;
  if (why !== null) cannotStore(s, out, s.storingFrom, header, why);
  afterStore(s, out);
}

/** Escrow: its disk did not take a record, while it came in or when it was to be stored. */
export function cannotStore(s: Draft, out: Action[], from: Owner, record: RecordId, why: string): void {
  if (!s.cannotStore) out.push({ kind: "report", report: { what: "cannot-store", why } });
  s.cannotStore = true;
  refuse(s, out, from, record, "cannot-store");
}

/** Escrow: the log itself found that the record under way contradicts it. */
export function refusedByLog(s: Draft, out: Action[], n: TransactionNumber, why: string): void {
  const header = s.storing;
  if (header === null || header.n !== n) return;
  if (!s.config.rules.escrowDistrusts) {
    stored(s, out, n);
    return;
  }
  s.storing = null;
  violation(s, out, s.storingFrom, header, why);
  afterStore(s, out);
}

function afterStore(s: Draft, out: Action[]): void {
  if (s.replyAfterStore !== null) {
    const to = s.replyAfterStore;
    s.replyAfterStore = null;
    replyPromise(s, out, to);
  }
  appendWaiting(s, out);
}

/** Escrow: a record that came while something was being written. */
export function appendWaiting(s: Draft, out: Action[]): void {
  const header = s.waiting;
  if (header === null || s.persisting !== null || s.storing !== null) return;
  s.waiting = null;
  append(s, out, s.waitingFrom, header);
}
