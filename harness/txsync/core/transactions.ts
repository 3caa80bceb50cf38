import type { Action } from "./action.ts";
import { openGate } from "./gate.ts";
import { hears } from "./lease.ts";
import type { RecordHeader } from "./message.ts";
import { isOwner, learnOpened } from "./owner.ts";
import type { Draft } from "./state.ts";
import {
  type FrameNumber,
  frameNumber,
  type Generation,
  type LogState,
  type Role,
  type TransactionNumber,
  transactionNumber,
} from "./values.ts";
import { replyPromise } from "./votes.ts";

/**
 * Transactions. Target: take n, send it, wait for the escrow's word; at most one is under way, so memory is bounded,
 * and when the escrow is slow epochs stretch. Escrow: store a record whole if it is of the generation promised and
 * follows the last one. A number whose record's fate is unknown is never used again within the same generation.
 */
export function takeIfDue(s: Draft, out: Action[], force: boolean): void {
  if (s.config.role !== "target" || s.vm !== "running" || s.tx.stage !== "idle") return;
  if (!isOwner(s) || s.opened.mode !== "protected" || s.reassert || !hears(s, "escrow")) return;
  if (!force && s.now_ms - s.tx.lastTaken_ms < s.config.epoch_ms / 2) return;
  const n = nextNumber(s);
  s.tx = { ...s.tx, next: n, stage: "taking", lastTaken_ms: s.now_ms };
  out.push({
    kind: "takeTransaction",
    generation: s.opened.generation,
    n,
    since: s.tx.cumulative ? "base" : transactionNumber(n - 1),
  });
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
  const since = s.tx.cumulative ? ("base" as const) : transactionNumber(n - 1);
  const record: RecordHeader = { generation, n, since, mark, acked: s.gate.acked };
  s.tx = { ...s.tx, stage: "sent", next: transactionNumber(n + 1), record, sent_ms: s.now_ms };
  out.push({ kind: "send", to: "escrow", message: { kind: "append", ...record } });
  openGate(s, out);
}

export function takingFailed(s: Draft): void {
  if (s.tx.stage === "taking") s.tx = { ...s.tx, stage: "idle", cumulative: true };
}

/** The answer may have been lost with a link: the escrow answers a repeat without storing it twice. */
export function resendIfSilent(s: Draft, out: Action[]): void {
  const { record } = s.tx;
  if (s.tx.stage !== "sent" || record === null || !isOwner(s)) return;
  if (s.now_ms - s.tx.sent_ms < s.config.lease_ms / 2 || !hears(s, "escrow")) return;
  s.tx = { ...s.tx, sent_ms: s.now_ms };
  out.push({ kind: "send", to: "escrow", message: { kind: "append", ...record } });
}

export function committed(s: Draft, out: Action[], generation: Generation, n: TransactionNumber): void {
  const { record } = s.tx;
  if (record === null || record.n !== n || record.generation !== generation) return;
  // Promised to another: sealed, even for what it is told late.
  if (!isOwner(s) || s.opened.generation !== generation) return;
  s.tx = { ...s.tx, stage: "idle", record: null, cumulative: false, committed: n };
  s.gate = { ...s.gate, committed: frameNumber(Math.max(s.gate.committed, record.mark)) };
  out.push({ kind: "report", report: { what: "committed", generation, n } });
  openGate(s, out);
  if (s.gate.produced > s.gate.committed) takeIfDue(s, out, true);
}

/**
 * A generation of ours begins: the record under way is given up (the escrow's word says whether it was stored), and
 * the next one holds everything that differs from the base.
 */
export function beginGeneration(s: Draft, out: Action[], log: LogState | null): void {
  const { record } = s.tx;
  if (record !== null && record.n !== log?.last) {
    out.push({ kind: "dropRecord", generation: record.generation, n: record.n });
  }
  const stored = log !== null && (s.promised.validFrom <= log.generation || !s.config.rules.logMustBeValid);
  s.tx = {
    ...s.tx,
    stage: "idle",
    record: null,
    cumulative: true,
    next: transactionNumber(Math.max(s.tx.next, (log?.last ?? 0) + 1)),
    // After a time without protection only a record of the new generation holds all that was let out.
    committed: stored && log !== null ? Math.max(log.last, s.tx.committed ?? -1) : s.tx.committed,
  };
  if (stored && log !== null) {
    s.gate = { ...s.gate, committed: frameNumber(Math.min(s.gate.produced, Math.max(s.gate.committed, log.mark))) };
  }
  s.reassert = false;
}

/** Escrow: a record came in. */
export function append(s: Draft, out: Action[], from: Role, header: RecordHeader): void {
  const { generation, n, since } = header;
  const d = s.promised;
  const refuse = (why: "generation" | "gap"): void => {
    out.push({ kind: "send", to: from, message: { kind: "append-refused", generation, n, promised: d, why } });
  };
  if (s.config.role !== "escrow" || from !== "target") return;
  const current = d.generation === generation && d.owner === "target" && d.mode === "protected";
  if (s.config.rules.refuseOldRecords && !current) {
    refuse("generation");
    return;
  }
  // The promise is still being written: the record comes again.
  if (s.persisting !== null || s.storing !== null) return;
  if (s.log !== null && s.log.last === n && s.log.generation === generation) {
    out.push({ kind: "send", to: from, message: { kind: "appended", generation, n } });
    return;
  }
  const last = s.log?.last ?? 0;
  // A late repeat of what was long answered for.
  if (s.log !== null && s.log.generation === generation && n < last) return;
  if (n <= last || (since !== "base" && since !== s.log?.last)) {
    refuse("gap");
    return;
  }
  s.storing = header;
  out.push({ kind: "storeRecord", header });
}

/** Escrow: the record under way is stored whole, or was not. */
export function stored(s: Draft, out: Action[], n: TransactionNumber, whole: boolean): void {
  const header = s.storing;
  if (header === null || header.n !== n) return;
  s.storing = null;
  if (whole) {
    s.log = { last: header.n, generation: header.generation, mark: header.mark, acked: header.acked };
    // Only an owner that had opened its generation sends records of it: this is how the escrow knows.
    if (s.promised.generation === header.generation) learnOpened(s, out, s.promised);
    // A newer promise may have come meanwhile; it has not been sent yet and will name this record.
    out.push({ kind: "send", to: "target", message: { kind: "appended", generation: header.generation, n } });
  }
  if (s.replyAfterStore !== null) {
    const to = s.replyAfterStore;
    s.replyAfterStore = null;
    replyPromise(s, out, to);
  }
}
