import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { frameNumber, generation, transactionNumber } from "./index.ts";
import { Trio } from "./testing/trio.ts";

/** The target runs, and its first record is stored. */
function underWay(): Trio {
  const trio = new Trio().switchOver();
  trio.beat(2);
  return trio;
}

/** What each take was asked to be relative to. */
function since(trio: Trio): readonly (number | "base")[] {
  return trio.of("target", "takeTransaction").map((take) => take.since);
}

describe("what a record is relative to", () => {
  it("is the base once, and then the record before", () => {
    const trio = underWay();
    trio.epochs(3);
    expect(since(trio)).toEqual(["base", 1, 2, 3]);
    expect(trio.states.escrow.log?.last).toBe(4);
  });

  it("stays what it was when a transaction could not be taken", () => {
    const trio = underWay();
    trio.epochs(1);
    trio.shells.takes = "failed";
    trio.epochs(3);
    trio.shells.takes = "taken";
    trio.epochs(1);
    expect(since(trio)).toEqual(["base", 1, 2, 2, 2, 2]);
  });

  it("is the escrow's last record when a generation begins, whatever was taken and lost since", () => {
    const trio = underWay();
    trio.epochs(2);
    trio.shells.loses = ({ kind }) => kind === "append";
    trio.epochs(1);
    expect(trio.states.target.tx).toMatchObject({ stage: "sent", next: 5, since: 3 });
    trio.deaf.add("escrow");
    trio.beat(8);
    expect(trio.states.target.opened).toMatchObject({ generation: 2, mode: "unprotected" });
    trio.says(5);
    trio.shells.loses = () => false;
    trio.deaf.delete("escrow");
    trio.beat(3);
    // The log missed what was let out meanwhile and restores nothing; to count from it is good all the same.
    expect(trio.states.target.opened).toMatchObject({ generation: 3, mode: "protected", validFrom: 3 });
    expect(trio.of("target", "takeTransaction").find((take) => take.generation === 3)).toMatchObject({
      n: 5,
      since: 3,
    });
    expect(trio.states.escrow.log).toMatchObject({ last: 5, generation: 3, mark: 5 });
  });

  it("is the record under way when the promise names it", () => {
    const trio = underWay();
    trio.shells.loses = ({ kind }) => kind === "appended";
    trio.event("target", { kind: "timer", timer: "epoch" });
    expect(trio.states.target.tx).toMatchObject({ stage: "sent" });
    const { log, promised } = trio.states.escrow;
    expect(log?.last).toBe(2);
    const refused = { kind: "append-refused", generation: generation(1), n: transactionNumber(2) } as const;
    trio.event("target", {
      kind: "message",
      from: "escrow",
      message: { ...refused, promised, log, why: "generation" },
    });
    expect(trio.states.target).toMatchObject({ opened: { generation: 2, mode: "protected" }, reassert: false });
    expect(trio.of("target", "dropRecord")).toEqual([]);
    expect(trio.of("target", "forgetRecord").at(-1)).toMatchObject({ generation: 1, n: 2 });
    expect(trio.of("target", "takeTransaction").at(-1)).toMatchObject({ generation: 2, n: 3, since: 2 });
  });

  it("is what a refusal says that the log has", () => {
    const trio = underWay();
    trio.epochs(3);
    const log = trio.states.escrow.log;
    // The log lost records, and nobody knew.
    trio.states.escrow = { ...trio.states.escrow, log: log === null ? null : { ...log, last: transactionNumber(2) } };
    trio.epochs(2);
    expect(trio.sent("escrow", "append-refused")).toMatchObject([{ n: 5, why: "gap", log: { last: 2 } }]);
    expect(trio.of("target", "takeTransaction").at(-1)).toMatchObject({ generation: 1, n: 6, since: 2 });
    trio.states.escrow = { ...trio.states.escrow, log: null };
    trio.epochs(2);
    expect(trio.of("target", "takeTransaction").at(-1)).toMatchObject({ generation: 1, n: 8, since: "base" });
    expect(trio.states.escrow.log).toMatchObject({ last: 8 });
  });

  it("is always what the escrow has, whatever is lost, fails, or falls silent", () => {
    const hazard = fc.oneof(
      fc.constantFrom("failing-takes", "failing-store", "lost-append", "lost-answers", "fine", "fine"),
      fc.constantFrom("escrow-deaf", "source-deaf"),
    );
    fc.assert(
      fc.property(fc.array(fc.tuple(hazard, fc.integer({ min: 1, max: 9 })), { maxLength: 8 }), (hazards) => {
        const trio = underWay();
        const asked: { since: number | "base"; last: number | undefined }[] = [];
        const act = trio.act.bind(trio);
        trio.act = (role, action) => {
          if (action.kind === "storeRecord")
            asked.push({ since: action.header.since, last: trio.states.escrow.log?.last });
          act(role, action);
        };
        for (const [what, epochs] of hazards) {
          trio.shells.takes = what === "failing-takes" ? "failed" : "taken";
          trio.shells.stores = what === "failing-store" ? "failed" : "stored";
          trio.shells.loses = ({ kind }) =>
            (what === "lost-append" && kind === "append") || (what === "lost-answers" && kind === "appended");
          trio.deaf.clear();
          if (what === "escrow-deaf") trio.deaf.add("escrow");
          if (what === "source-deaf") trio.deaf.add("source");
          trio.says(trio.states.target.gate.produced + 1);
          trio.epochs(epochs);
        }
        trio.deaf.clear();
        trio.shells.takes = "taken";
        trio.shells.stores = "stored";
        trio.shells.loses = () => false;
        trio.epochs(12);
        for (const { since, last } of asked) expect(since).toBe(last ?? "base");
        const refusals = trio.sent("escrow", "append-refused").map(({ why }) => why);
        expect(refusals.filter((why) => why === "gap" || why === "violation")).toEqual([]);
        expect(trio.reports("escrow", "violation")).toEqual([]);
        // And protection is back.
        const { target, escrow } = trio.states;
        expect(target.opened).toMatchObject({ owner: "target", mode: "protected" });
        expect(escrow.log?.generation).toBe(target.opened.generation);
        expect(target.gate.committed).toBe(target.gate.produced);
      }),
      { numRuns: 150 },
    );
  });
});

describe("protection", () => {
  it("is said to be on when the generation's first record is committed, and not before", () => {
    const trio = new Trio();
    trio.shells.stores = "hold";
    trio.switchOver();
    trio.beat(2);
    expect(trio.states.target.opened.mode).toBe("protected");
    for (const role of ["source", "target"] as const) expect(trio.reports(role, "protection-on")).toEqual([]);
    trio.event("escrow", { kind: "recordStored", generation: generation(1), n: transactionNumber(1) });
    expect(trio.reports("target", "protection-on")).toEqual([
      { what: "protection-on", generation: 1, n: 1, covered: false },
    ]);
    trio.shells.stores = "stored";
    trio.epochs(3);
    expect(trio.reports("target", "protection-on")).toHaveLength(1);
    trio.deaf.add("escrow");
    trio.beat(8);
    expect(trio.reports("target", "protection-off")).toHaveLength(1);
    trio.deaf.delete("escrow");
    trio.epochs(3);
    expect(trio.reports("target", "protection-on").at(-1)).toMatchObject({
      what: "protection-on",
      generation: 3,
      n: 5,
    });
  });

  it("says once that the source's host may be lost, when escrow and target together have the base", () => {
    const trio = new Trio();
    trio.switchOver();
    trio.beat(2);
    trio.epochs(1);
    expect(trio.reports("target", "protection-on").at(-1)).toMatchObject({ covered: false });
    expect(trio.reports("target", "base-covered")).toEqual([]);
    for (const covered of [true, true]) trio.event("target", { kind: "baseCovered", covered });
    expect(trio.reports("target", "base-covered")).toEqual([{ what: "base-covered" }]);
    trio.deaf.add("escrow");
    trio.beat(8);
    trio.deaf.delete("escrow");
    trio.epochs(3);
    expect(trio.reports("target", "protection-on").at(-1)).toMatchObject({ covered: true });
  });

  it("is asked to end when nobody can tell which pages change, of whoever is heard, and comes back", () => {
    for (const deaf of ["source", "escrow"] as const) {
      const trio = underWay();
      trio.deaf.add(deaf);
      trio.event("target", { kind: "untrackable", why: "the tracker does not open" });
      trio.says(1);
      trio.beat(2);
      const { target } = trio.states;
      expect(target.opened).toMatchObject({ generation: 2, mode: "unprotected", owner: "target" });
      expect(trio.reports("target", "protection-off")).toEqual([
        { what: "protection-off", why: "the tracker does not open" },
      ]);
      expect(trio.of("target", "releaseOutput")).toMatchObject([{ generation: 2, from: 1, to: 1 }]);
      const takes = trio.of("target", "takeTransaction").length;
      trio.epochs(3);
      expect(trio.of("target", "takeTransaction")).toHaveLength(takes);
      trio.deaf.clear();
      trio.event("target", { kind: "trackable" });
      trio.epochs(3);
      expect(trio.states.target.opened).toMatchObject({ mode: "protected" });
      expect(trio.reports("target", "protection-on").at(-1)?.generation).toBe(trio.states.target.opened.generation);
    }
  });
});

describe("the escrow distrusts", () => {
  const append = (trio: Trio, n: number, mark: number, acked: number): void =>
    trio.event("escrow", {
      kind: "message",
      from: "target",
      message: {
        kind: "append",
        generation: generation(1),
        n: transactionNumber(n),
        since: transactionNumber(n - 1),
        mark: frameNumber(mark),
        acked: frameNumber(acked),
      },
    });

  it.each([
    { what: "a mark that goes back", mark: 3, acked: 0 },
    { what: "output that has arrived and is not covered", mark: 4, acked: 5 },
  ])("and refuses $what", ({ mark, acked }) => {
    const trio = underWay();
    trio.says(4);
    const before = trio.states.escrow.log;
    expect(before).toMatchObject({ last: 2, mark: 4 });
    const stored = trio.of("escrow", "storeRecord").length;
    append(trio, 3, mark, acked);
    expect(trio.of("escrow", "storeRecord")).toHaveLength(stored);
    expect(trio.states.escrow.log).toEqual(before);
    expect(trio.reports("escrow", "violation")).toHaveLength(1);
    expect(trio.sent("escrow", "append-refused")).toMatchObject([{ n: 3, why: "violation", log: { last: 2 } }]);
  });

  it("what its log refuses: the next record holds everything", () => {
    const trio = underWay();
    trio.shells.stores = "refused";
    trio.says(3);
    expect(trio.states.escrow.log?.last).toBe(1);
    expect(trio.of("target", "dropRecord")).toMatchObject([{ generation: 1, n: 2 }]);
    expect(trio.states.target.gate).toMatchObject({ produced: 3, released: 0 });
    trio.shells.stores = "stored";
    trio.epochs(1);
    expect(trio.of("target", "takeTransaction").at(-1)).toMatchObject({ generation: 1, n: 3, since: "base" });
    expect(trio.states.target.gate).toMatchObject({ released: 3 });
    expect(trio.reports("escrow", "violation")).toHaveLength(1);
    expect(trio.reports("target", "violation")).toEqual([]);
    trio.epochs(1);
    expect(trio.of("target", "takeTransaction").at(-1)).toMatchObject({ n: 4, since: 3 });
  });

  it("that too: the target says so once, keeps its gate shut, and tries again each epoch", () => {
    const trio = underWay();
    trio.shells.stores = "refused";
    trio.says(3);
    const before = trio.of("target", "takeTransaction").length;
    trio.epochs(4);
    // Output that waits does not make it try more often.
    for (const upTo of [4, 5, 6]) trio.says(upTo);
    const takes = trio.of("target", "takeTransaction").slice(before);
    expect(takes.map((take) => take.since)).toEqual(["base", "base", "base", "base"]);
    expect(trio.reports("target", "violation")).toHaveLength(1);
    expect(trio.reports("target", "protection-off")).toHaveLength(1);
    expect(trio.states.target).toMatchObject({ opened: { generation: 1 }, gate: { released: 0 } });
    // A new generation does not make it trusted.
    trio.deaf.add("escrow");
    trio.beat(8);
    trio.deaf.delete("escrow");
    trio.shells.stores = "stored";
    trio.epochs(3);
    const later = trio.of("target", "takeTransaction").filter((take) => take.generation > 2);
    expect(later[0]).toMatchObject({ since: "base" });
    expect(trio.reports("target", "protection-on").at(-1)?.generation).toBe(trio.states.target.opened.generation);
    expect(trio.states.target.gate).toMatchObject({ produced: 6, released: 6 });
  });
});

describe("a record on its way", () => {
  const appends = (trio: Trio): number => trio.sent("target", "append").length;

  it("is not sent again while its bytes move, and soon when they do not", () => {
    const trio = underWay();
    trio.shells.loses = ({ kind }) => kind === "append";
    trio.epochs(1);
    const once = appends(trio);
    for (let i = 0; i < 20; i += 1) {
      trio.beat(1);
      trio.event("target", { kind: "recordSending", generation: generation(1), n: transactionNumber(2) });
    }
    expect(appends(trio)).toBe(once);
    // Of another record it says nothing.
    for (let i = 0; i < 4; i += 1) {
      trio.beat(1);
      trio.event("target", { kind: "recordSending", generation: generation(1), n: transactionNumber(1) });
    }
    expect(appends(trio)).toBe(once + 1);
  });

  it("is not sent again while the escrow says that it is storing it", () => {
    const trio = underWay();
    trio.shells.stores = "hold";
    trio.epochs(1);
    const once = appends(trio);
    trio.beat(12);
    expect(appends(trio)).toBe(once);
    expect(trio.states.target).toMatchObject({ opened: { generation: 1 }, tx: { stage: "sent" } });
    trio.event("escrow", { kind: "recordStored", generation: generation(1), n: transactionNumber(2) });
    expect(trio.states.target.tx).toMatchObject({ stage: "idle", committed: 2 });
  });

  it("is committed when a heartbeat of the escrow names it, if the answer was lost", () => {
    const trio = underWay();
    trio.shells.loses = ({ kind }) => kind === "appended";
    trio.says(2);
    expect(trio.states.target.tx.stage).toBe("sent");
    const once = appends(trio);
    trio.beat(1);
    expect(trio.states.target.tx).toMatchObject({ committed: 2 });
    expect(trio.states.target.gate.released).toBe(2);
    expect(appends(trio)).toBe(once);
  });

  it("that the escrow's disk does not take is kept, and sent again ever more seldom, but within two leases", () => {
    const trio = underWay();
    trio.shells.stores = "failed";
    trio.says(3);
    const at_ms: number[] = [trio.now_ms];
    for (let before = appends(trio); at_ms.length < 7; before = appends(trio)) {
      trio.epochs(1);
      if (appends(trio) > before) at_ms.push(trio.now_ms);
    }
    const gaps_ms = at_ms.slice(1).map((at, i) => at - (at_ms[i] as number));
    expect(gaps_ms).toEqual([500, 1_000, 1_000, 1_000, 1_000, 1_000]);
    // Always the same, relative to the same; said once.
    expect(
      new Set(
        trio
          .sent("target", "append")
          .slice(1)
          .map(({ n, since }) => `${n} since ${since}`),
      ).size,
    ).toBe(1);
    expect(trio.of("target", "dropRecord")).toEqual([]);
    expect(trio.reports("escrow", "cannot-store")).toEqual([{ what: "cannot-store", why: "the disk is full" }]);
    expect(trio.states.target.gate).toMatchObject({ produced: 3, released: 0 });
    // Nobody takes over from a target that waits, nor does it give protection up.
    expect(trio.states.target.opened).toMatchObject({ generation: 1, mode: "protected" });
    trio.shells.stores = "stored";
    trio.epochs(10);
    expect(trio.reports("escrow", "stores-again")).toHaveLength(1);
    expect(trio.states.target).toMatchObject({ tx: { patience_ms: 250 }, gate: { produced: 3, released: 3 } });
    expect(trio.states.escrow).toMatchObject({ cannotStore: false });
  });

  it("that the escrow could not even receive is as one that it could not store", () => {
    const trio = underWay();
    trio.shells.loses = ({ kind }) => kind === "append";
    trio.says(3);
    const record = { generation: generation(1), n: transactionNumber(2) };
    trio.event("escrow", { kind: "recordNotReceived", from: "target", ...record, why: "ENOSPC" });
    expect(trio.sent("escrow", "append-refused")).toMatchObject([{ ...record, why: "cannot-store" }]);
    expect(trio.states.target.tx).toMatchObject({ stage: "sent", record, patience_ms: 500 });
    // Of another record it says nothing.
    trio.event("escrow", {
      kind: "recordNotReceived",
      from: "target",
      ...record,
      n: transactionNumber(7),
      why: "ENOSPC",
    });
    expect(trio.states.target.tx).toMatchObject({ stage: "sent", patience_ms: 500 });
    // One that is being stored meanwhile is not touched by that.
    trio.shells.loses = () => false;
    trio.shells.stores = "hold";
    trio.beat(5);
    expect(trio.states.escrow.storing).toMatchObject(record);
    trio.event("escrow", { kind: "recordNotReceived", from: "target", ...record, why: "ENOSPC" });
    expect(trio.states.escrow.storing).toMatchObject(record);
    // There was nothing to be stored: nobody is told, and it comes again.
    const refusals = trio.sent("escrow", "append-refused").length;
    trio.event("escrow", { kind: "recordFailed", ...record, why: null });
    expect(trio.states.escrow.storing).toBeNull();
    expect(trio.sent("escrow", "append-refused")).toHaveLength(refusals);
  });

  it("may be forgotten once it is stored", () => {
    const trio = underWay();
    trio.epochs(2);
    expect(trio.of("target", "forgetRecord").map(({ n }) => n)).toEqual([1, 2, 3]);
    expect(trio.of("target", "dropRecord")).toEqual([]);
  });

  it("waits at the escrow for what is being written there", () => {
    const trio = underWay();
    const act = trio.act.bind(trio);
    let writing: (() => void) | undefined;
    trio.act = (role, action) => {
      if (role === "escrow" && action.kind === "persistPromise") {
        const { descriptor } = action.durable;
        writing = () => trio.event("escrow", { kind: "promisePersisted", generation: descriptor.generation });
        trio.done.push({ role, action });
      } else act(role, action);
    };
    const { promised } = trio.states.target;
    const descriptor = { ...promised, generation: generation(2) };
    trio.event("escrow", {
      kind: "message",
      from: "target",
      message: { kind: "ask", pre: false, attempt: 0, descriptor },
    });
    const stored = trio.of("escrow", "storeRecord").length;
    trio.event("escrow", {
      kind: "message",
      from: "target",
      message: {
        kind: "append",
        generation: generation(2),
        n: transactionNumber(2),
        since: transactionNumber(1),
        mark: frameNumber(0),
        acked: frameNumber(0),
      },
    });
    expect(trio.of("escrow", "storeRecord")).toHaveLength(stored);
    writing?.();
    expect(trio.of("escrow", "storeRecord")).toHaveLength(stored + 1);
    expect(trio.states.escrow.log).toMatchObject({ last: 2, generation: 2 });
  });

  it("is not answered for by an escrow whose log was lost since the generation was opened", () => {
    const trio = underWay();
    trio.epochs(2);
    const { promised } = trio.states.escrow;
    trio.shells.loses = ({ kind }) => kind === "ping";
    trio.start("escrow", {
      durable: { descriptor: promised, opened: false },
      memory: { ...trio.remembered, everFree: false, log: trio.states.escrow.log },
      log: { last: transactionNumber(1), generation: generation(1), mark: frameNumber(0), acked: frameNumber(0) },
    });
    expect(trio.states.escrow.promised.validFrom).toBe(2);
    trio.says(1);
    trio.shells.loses = () => false;
    trio.epochs(8);
    expect(trio.sent("escrow", "append-refused")).toMatchObject([{ why: "generation" }]);
    expect(trio.states.target.opened).toMatchObject({ mode: "protected", validFrom: 2 });
    expect(trio.states.escrow.log?.generation).toBe(trio.states.target.opened.generation);
    expect(trio.states.target.gate.released).toBe(1);
  });
});
