import type { CheckVerdict } from "../../base/timeline.ts";
import type { LedgerEntry } from "./ledger-area.ts";
import { LedgerRefusedError } from "./ledger-client.ts";

/** Evidence lines that are kept; more are counted. */
const EVIDENCE_MAX = 50;

/** When an operation began and ended, on one clock (of any unit): only "ended before the other began" is used. */
interface Times {
  readonly invoked_at: number;
}
type Unacknowledged =
  /** The guest answered that it did not do it. */
  | { readonly outcome: "refused"; readonly ended_at: number }
  /** No answer came: it may have been done, once, at any time after it began, or not at all. */
  | { readonly outcome: "unknown" };
type Ended<T> = ({ readonly outcome: "acknowledged"; readonly ended_at: number } & T) | Unacknowledged;

/**
 * What a client knows of an operation that it got no result of. Only the guest's own word says that it was not done;
 * whatever else went wrong, nobody can know.
 */
export function unacknowledged(error: unknown, now: number): Unacknowledged {
  return error instanceof LedgerRefusedError ? { outcome: "refused", ended_at: now } : { outcome: "unknown" };
}

/** An append, named by (client, client_seq); a repetition under the same name is the same operation. */
export type AppendOperation = Times & {
  readonly kind: "append";
  readonly client: number;
  readonly client_seq: number;
  readonly value: number;
} & Ended<{ readonly index: number }>;

export type ReadOperation = Times & {
  readonly kind: "read";
  readonly index: number;
} & Ended<{ readonly found: number | "absent" }>;

export type LengthOperation = Times & { readonly kind: "length" } & Ended<{ readonly length: number }>;

export type LedgerOperation = AppendOperation | ReadOperation | LengthOperation;

export interface HistoryVerdict {
  /** "unknown": nothing speaks against it, but the end is not known or nothing was acknowledged. */
  readonly verdict: CheckVerdict;
  readonly summary: string;
  readonly evidence: readonly string[];
  readonly acknowledged_appends: number;
  readonly unknown_appends: number;
  /** Unknown appends that turned out to have been done. */
  readonly unknown_done: number;
}

/**
 * Judges what clients saw against what the ledger holds at the end (read from RAM or asked of the guest, all clients
 * ended; `undefined` when nobody could find out). The ledger only grows and entries never change, so:
 * every acknowledged append is there, once, at its index; an append that ended before another began stands before it;
 * a read or length never shows less than an operation that ended before it began; unknown appends are there at most
 * once, refused ones not at all; nothing is there that nobody appended.
 */
export function checkLedgerHistory(
  history: readonly LedgerOperation[],
  final: readonly LedgerEntry[] | undefined,
): HistoryVerdict {
  const evidence: string[] = [];
  let against = 0;
  const blame = (line: string): void => {
    if (++against <= EVIDENCE_MAX) evidence.push(line);
  };
  const appends = history.filter((operation) => operation.kind === "append");
  const acknowledged = appends.filter((append) => append.outcome === "acknowledged");
  const unknown_appends = appends.filter((append) => append.outcome === "unknown").length;

  checkAgainstEachOther(history, blame);
  const unknown_done = final === undefined ? 0 : checkAgainstFinal(history, appends, final, blame);

  const counts = { acknowledged_appends: acknowledged.length, unknown_appends, unknown_done };
  if (against > 0) {
    if (against > EVIDENCE_MAX) evidence.push(`and ${against - EVIDENCE_MAX} more`);
    return { verdict: false, summary: `the ledger's history does not hold: ${evidence[0]}`, evidence, ...counts };
  }
  if (final === undefined) {
    return { verdict: "unknown", summary: "what the ledger holds at the end is not known", evidence, ...counts };
  }
  if (acknowledged.length === 0) {
    return { verdict: "unknown", summary: "no append was acknowledged, so nothing is shown", evidence, ...counts };
  }
  const summary =
    `all ${acknowledged.length} acknowledged appends are there, once, in order` +
    (unknown_appends > 0 ? `; of ${unknown_appends} unknown ones ${unknown_done} were done` : "");
  return { verdict: true, summary, evidence, ...counts };
}

function nameOf(operation: { readonly client: number; readonly client_seq: number }): string {
  return `${operation.client}/${operation.client_seq}`;
}

/** What needs no knowledge of the end: two answers that cannot both be true of a ledger that only grows. */
function checkAgainstEachOther(history: readonly LedgerOperation[], blame: (line: string) => void): void {
  const values = new Map<number, { readonly value: number; readonly who: string }>();
  const say = (index: number, value: number, who: string): void => {
    const known = values.get(index);
    if (known === undefined) values.set(index, { value, who });
    else if (known.value !== value) blame(`index ${index}: ${who} says ${value}, ${known.who} says ${known.value}`);
  };
  const owners = new Map<number, string>();
  for (const operation of history) {
    if (operation.outcome !== "acknowledged") continue;
    if (operation.kind === "append") {
      const name = nameOf(operation);
      say(operation.index, operation.value, `append ${name}`);
      const owner = owners.get(operation.index);
      if (owner !== undefined && owner !== name)
        blame(`index ${operation.index} was given to appends ${owner} and ${name}`);
      owners.set(operation.index, name);
    } else if (operation.kind === "read" && operation.found !== "absent") {
      say(operation.index, operation.found, `a read at ${operation.invoked_at}`);
    }
  }
  // Sweep by time: how long the ledger is known to have been when an operation began.
  const began = history.filter((operation) => operation.outcome === "acknowledged");
  const ended = [...began].sort((left, right) => left.ended_at - right.ended_at);
  began.sort((left, right) => left.invoked_at - right.invoked_at);
  let next = 0;
  let known_length = 0;
  let shown_by = "";
  for (const operation of began) {
    for (
      let before = ended[next];
      before !== undefined && before.ended_at < operation.invoked_at;
      before = ended[++next]
    ) {
      const length = lengthShown(before);
      if (length > known_length) [known_length, shown_by] = [length, `${before.kind} that ended at ${before.ended_at}`];
    }
    const at = `at ${operation.invoked_at}, after a length of ${known_length} was shown by the ${shown_by}`;
    if (operation.kind === "append" && operation.index < known_length && !repeats(operation, history)) {
      blame(`append ${nameOf(operation)} got index ${operation.index} ${at}`);
    } else if (operation.kind === "read" && operation.found === "absent" && operation.index < known_length) {
      blame(`a read of index ${operation.index} found nothing ${at}`);
    } else if (operation.kind === "length" && operation.length < known_length) {
      blame(`a length of ${operation.length} was answered ${at}`);
    }
  }
}

/** An append repeated under its name may answer with an index of long ago. */
function repeats(operation: AppendOperation, history: readonly LedgerOperation[]): boolean {
  return history.some(
    (other) =>
      other !== operation &&
      other.kind === "append" &&
      nameOf(other) === nameOf(operation) &&
      other.invoked_at < operation.invoked_at,
  );
}

/** The length that an acknowledged operation proves to have been reached when it ended. */
function lengthShown(operation: LedgerOperation): number {
  if (operation.outcome !== "acknowledged") return 0;
  if (operation.kind === "length") return operation.length;
  if (operation.kind === "append") return operation.index + 1;
  return operation.found === "absent" ? 0 : operation.index + 1;
}

/** Returns how many unknown appends were done. */
function checkAgainstFinal(
  history: readonly LedgerOperation[],
  appends: readonly AppendOperation[],
  final: readonly LedgerEntry[],
  blame: (line: string) => void,
): number {
  const by_name = new Map<string, AppendOperation[]>();
  for (const append of appends) {
    const same = by_name.get(nameOf(append));
    if (same === undefined) by_name.set(nameOf(append), [append]);
    else same.push(append);
  }
  const places = new Map<string, number>();
  let unknown_done = 0;
  final.forEach((entry, index) => {
    const name = nameOf(entry);
    if (entry.index !== index) blame(`the ledger's entry ${index} calls itself ${entry.index}`);
    const first = places.get(name);
    if (first !== undefined) blame(`append ${name} is there twice, at index ${first} and ${index}`);
    else places.set(name, index);
    const made_by = by_name.get(name);
    if (made_by === undefined) {
      blame(`index ${index} holds ${entry.value} of append ${name}, which nobody invoked`);
      return;
    }
    if (made_by.every((append) => append.value !== entry.value)) {
      blame(`index ${index} holds ${entry.value}, append ${name} was of ${made_by[0]?.value}`);
    }
    if (made_by.every((append) => append.outcome === "refused"))
      blame(`append ${name} was refused, but is at index ${index}`);
    if (made_by.every((append) => append.outcome !== "acknowledged")) unknown_done++;
  });
  for (const operation of history) {
    if (operation.outcome !== "acknowledged") continue;
    if (operation.kind === "append") {
      const entry = final[operation.index];
      const name = nameOf(operation);
      if (entry === undefined) {
        blame(
          `append ${name} of ${operation.value} was acknowledged at index ${operation.index}, ` +
            `but the ledger ends at ${final.length}`,
        );
      } else if (nameOf(entry) !== name || entry.value !== operation.value) {
        blame(
          `append ${name} of ${operation.value} was acknowledged at index ${operation.index}, ` +
            `where ${entry.value} of ${nameOf(entry)} is`,
        );
      }
    } else if (operation.kind === "length" && operation.length > final.length) {
      blame(`a length of ${operation.length} was answered, but the ledger ends at ${final.length}`);
    } else if (operation.kind === "read" && operation.found !== "absent") {
      const entry = final[operation.index];
      if (entry?.value !== operation.found) {
        blame(
          `a read of index ${operation.index} found ${operation.found}, at the end it is ${entry?.value ?? "not there"}`,
        );
      }
    }
  }
  checkOrder(by_name, places, blame);
  return unknown_done;
}

/** An append that was acknowledged before another was invoked (first) stands before it, also before an unknown one. */
function checkOrder(
  by_name: ReadonlyMap<string, readonly AppendOperation[]>,
  places: ReadonlyMap<string, number>,
  blame: (line: string) => void,
): void {
  const placed = [...by_name].flatMap(([name, same]) => {
    const place = places.get(name);
    if (place === undefined) return [];
    const invoked_at = Math.min(...same.map((append) => append.invoked_at));
    const ended_at = Math.min(
      ...same.map((append) => (append.outcome === "acknowledged" ? append.ended_at : Number.POSITIVE_INFINITY)),
    );
    return [{ name, place, invoked_at, ended_at }];
  });
  const ended = [...placed].sort((left, right) => left.ended_at - right.ended_at);
  placed.sort((left, right) => left.invoked_at - right.invoked_at);
  let next = 0;
  let furthest: (typeof placed)[number] | undefined;
  for (const append of placed) {
    for (
      let before = ended[next];
      before !== undefined && before.ended_at < append.invoked_at;
      before = ended[++next]
    ) {
      if (furthest === undefined || before.place > furthest.place) furthest = before;
    }
    if (furthest !== undefined && append.place < furthest.place) {
      blame(
        `append ${append.name} began after ${furthest.name} was acknowledged, but stands before it ` +
          `(index ${append.place}, ${furthest.place})`,
      );
    }
  }
}
