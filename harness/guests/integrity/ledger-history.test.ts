import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { LedgerEntry } from "./ledger-area.ts";
import { LedgerRefusedError, LedgerUnknownError } from "./ledger-client.ts";
import { checkLedgerHistory, type LedgerOperation, unacknowledged } from "./ledger-history.ts";

/** Plays clients against a true ledger: concurrent, some answers lost, some operations never done. */
interface Script {
  readonly kind: "append" | "read" | "length";
  readonly pick: number;
  /** Time from invocation to effect, and from effect to answer. */
  readonly to_effect: number;
  readonly to_answer: number;
  readonly fate: "answered" | "answer lost" | "request lost";
}
const script = fc.array(
  fc.record<Script>({
    kind: fc.constantFrom("append", "append", "read", "length"),
    pick: fc.nat(1000),
    to_effect: fc.nat(30),
    to_answer: fc.nat(30),
    fate: fc.constantFrom("answered", "answered", "answered", "answer lost", "request lost"),
  }),
  { minLength: 1, maxLength: 40 },
);

function play(scripts: readonly Script[]): { history: LedgerOperation[]; final: LedgerEntry[] } {
  const final: LedgerEntry[] = [];
  const history: LedgerOperation[] = new Array<LedgerOperation>(scripts.length);
  const events = scripts.map((one, i) => ({ one, i, invoked_at: i * 10, at: i * 10 + one.to_effect + 0.5 }));
  events.sort((left, right) => left.at - right.at || left.i - right.i);
  for (const { one, i, invoked_at, at } of events) {
    const done = one.fate !== "request lost";
    const answered = one.fate === "answered";
    const ended = { outcome: "acknowledged" as const, ended_at: at + one.to_answer };
    const length = final.length;
    if (one.kind === "append") {
      const named = { kind: "append" as const, client: i % 3, client_seq: i, value: one.pick, invoked_at };
      if (done) final.push({ index: length, value: one.pick, client: i % 3, client_seq: i });
      history[i] = answered ? { ...named, ...ended, index: length } : { ...named, outcome: "unknown" };
    } else if (one.kind === "read") {
      const index = one.pick % (length + 2);
      const found = final[index]?.value ?? "absent";
      history[i] = answered
        ? { kind: "read", invoked_at, index, ...ended, found }
        : { kind: "read", invoked_at, index, outcome: "unknown" };
    } else {
      history[i] = answered
        ? { kind: "length", invoked_at, ...ended, length }
        : { kind: "length", invoked_at, outcome: "unknown" };
    }
  }
  return { history, final };
}
const acknowledgedAppends = (history: readonly LedgerOperation[]) =>
  history.filter((operation) => operation.kind === "append").filter((append) => append.outcome === "acknowledged");
const judge = (history: readonly LedgerOperation[], final: readonly LedgerEntry[] | undefined) =>
  checkLedgerHistory(history, final).verdict;
const renumber = (entries: readonly LedgerEntry[]): LedgerEntry[] =>
  entries.map((entry, index) => ({ ...entry, index }));

describe("checkLedgerHistory", () => {
  it("finds nothing against a true ledger, whatever was lost on the way", () => {
    fc.assert(
      fc.property(script, (scripts) => {
        const { history, final } = play(scripts);
        const found = checkLedgerHistory(history, final);
        expect(found.evidence).toEqual([]);
        expect(found.verdict).toBe(acknowledgedAppends(history).length > 0 ? true : "unknown");
      }),
    );
  });

  it("is unknown, never true, when the end is not known", () => {
    fc.assert(fc.property(script, (scripts) => void expect(judge(play(scripts).history, undefined)).toBe("unknown")));
  });

  const bites = (what: string, spoil: (final: LedgerEntry[], at: number) => LedgerEntry[]): void => {
    it(`bites when ${what}`, () => {
      fc.assert(
        fc.property(script, fc.nat(), (scripts, pick) => {
          const { history, final } = play(scripts);
          const acknowledged = acknowledgedAppends(history);
          const victim = acknowledged[pick % Math.max(acknowledged.length, 1)];
          fc.pre(victim !== undefined);
          expect(judge(history, renumber(spoil(final, victim.index)))).toBe(false);
        }),
      );
    });
  };
  bites("an acknowledged append is lost", (final, at) => final.filter((_, i) => i !== at));
  bites("the ledger is rolled back", (final, at) => final.slice(0, at));
  bites("an append is done twice", (final, at) => [...final, ...final.slice(at, at + 1)]);
  bites("a value changed", (final, at) =>
    final.map((entry, i) => (i === at ? { ...entry, value: entry.value + 1 } : entry)),
  );
  bites("something stands there that nobody appended", (final) => [
    ...final,
    { index: 0, value: 1, client: 9, client_seq: 9 },
  ]);

  const append = (client_seq: number, invoked_at: number, ended_at: number, index: number): LedgerOperation => ({
    kind: "append",
    client: 1,
    client_seq,
    value: client_seq * 11,
    invoked_at,
    outcome: "acknowledged",
    ended_at,
    index,
  });
  const entry = (index: number, client_seq: number): LedgerEntry => ({
    index,
    value: client_seq * 11,
    client: 1,
    client_seq,
  });

  it("bites when two appends were acknowledged at one index", () => {
    const history = [append(1, 0, 1, 0), append(2, 2, 3, 0)];
    expect(judge(history, [entry(0, 2)])).toBe(false);
    expect(judge(history, undefined)).toBe(false);
  });

  it("bites when an unknown append stands before one that was acknowledged earlier", () => {
    const unknown: LedgerOperation = {
      kind: "append",
      client: 1,
      client_seq: 2,
      value: 22,
      invoked_at: 5,
      outcome: "unknown",
    };
    expect(judge([append(1, 0, 1, 1), unknown], [entry(0, 2), entry(1, 1)])).toBe(false);
    expect(judge([append(1, 0, 1, 0), unknown], [entry(0, 1), entry(1, 2)])).toBe(true);
    expect(judge([append(1, 0, 9, 1), unknown], [entry(0, 2), entry(1, 1)])).toBe(true);
  });

  it("bites when a read or a length goes back, even when the end is as it should be", () => {
    const read: LedgerOperation = {
      kind: "read",
      index: 0,
      invoked_at: 5,
      outcome: "acknowledged",
      ended_at: 6,
      found: "absent",
    };
    const length: LedgerOperation = { kind: "length", invoked_at: 5, outcome: "acknowledged", ended_at: 6, length: 0 };
    for (const operation of [read, length]) {
      expect(judge([append(1, 0, 1, 0), operation], [entry(0, 1)])).toBe(false);
      expect(judge([append(1, 0, 5, 0), operation], [entry(0, 1)])).toBe(true);
    }
  });

  it("bites when a read found what is not there, and when a refused append is", () => {
    const read: LedgerOperation = {
      kind: "read",
      index: 1,
      invoked_at: 5,
      outcome: "acknowledged",
      ended_at: 6,
      found: 4,
    };
    expect(judge([append(1, 0, 1, 0), read], [entry(0, 1)])).toBe(false);
    const refused: LedgerOperation = {
      kind: "append",
      client: 1,
      client_seq: 2,
      value: 22,
      invoked_at: 5,
      outcome: "refused",
      ended_at: 6,
    };
    expect(judge([append(1, 0, 1, 0), refused], [entry(0, 1), entry(1, 2)])).toBe(false);
  });

  it("believes that an append was not done where the guest itself said so, and nowhere else", () => {
    const made = { kind: "append", client: 1, client_seq: 2, value: 22, invoked_at: 5 } as const;
    const errors = [
      [new LedgerRefusedError("append", 2, 1), false],
      [new LedgerUnknownError("append", 2, "no answer within 500 ms"), true],
      [new Error("the connection broke"), true],
    ] as const;
    for (const [error, may_be_there] of errors) {
      const history: LedgerOperation[] = [append(1, 0, 1, 0), { ...made, ...unacknowledged(error, 6) }];
      expect(judge(history, [entry(0, 1)])).toBe(true);
      expect(judge(history, [entry(0, 1), entry(1, 2)])).toBe(may_be_there);
    }
  });

  it("takes a repeated append as one: the same index again, though the ledger has grown", () => {
    const first: LedgerOperation = {
      kind: "append",
      client: 1,
      client_seq: 1,
      value: 11,
      invoked_at: 0,
      outcome: "unknown",
    };
    expect(judge([first, append(2, 2, 3, 1), append(1, 4, 5, 0)], [entry(0, 1), entry(1, 2)])).toBe(true);
  });
});
