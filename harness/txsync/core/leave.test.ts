import { describe, expect, it } from "vitest";
import { transactionNumber } from "./index.ts";
import { protectedAtSource } from "./testing/protected.ts";
import { Trio } from "./testing/trio.ts";

/** The source's VM is protected, and was asked to migrate. */
function asked(): Trio {
  const trio = protectedAtSource();
  trio.event("source", { kind: "migrate" });
  trio.beat(1);
  return trio;
}

/** Its last transaction there is committed, and the package with the target. */
function left(trio = asked()): Trio {
  trio.event("source", { kind: "memoryAhead" });
  trio.beat(1);
  return trio;
}

/** It has something that a commit alone does not bring where the target finds it. */
function settling(): Trio {
  const trio = asked();
  const { source } = trio.states;
  trio.states.source = { ...source, config: { ...source.config, settles: true } };
  return trio;
}

const last = (trio: Trio): unknown => trio.of("source", "takeTransaction").at(-1);

describe("a protected VM that migrates", () => {
  it("stays protected while memory goes ahead, and nobody promises anything for it", () => {
    const trio = asked();
    expect(trio.of("source", "startMigration")).toHaveLength(1);
    expect(trio.states.target.vm).toBe("incoming");
    expect(trio.states.source.opened).toMatchObject({ owner: "source", mode: "protected" });
    const before = trio.of("source", "takeTransaction").length;
    trio.beat(1);
    trio.event("source", { kind: "timer", timer: "epoch" });
    expect(trio.of("source", "takeTransaction").length).toBeGreaterThan(before);
    expect(last(trio)).not.toHaveProperty("last");
  });

  it("leaves with a transaction that the escrow has, and what it has put out by then", () => {
    const trio = left();
    expect(last(trio)).toMatchObject({ n: 2, since: 1, last: true });
    const [sent] = trio.sent("source", "package");
    expect(sent).toMatchObject({ n: 2, mark: 2, descriptor: { owner: "target", mode: "protected", generation: 3 } });
    // The log is as good as it was.
    expect(sent?.descriptor.validFrom).toBe(trio.states.escrow.log?.generation);
    expect(trio.states.target).toMatchObject({ vm: "running", base: "following", opened: { generation: 3 } });
    expect(trio.states.escrow.promised).toMatchObject({ generation: 3, owner: "target" });
  });

  it("has no record taken on the target before the escrow has the base that it is relative to", () => {
    const trio = left();
    trio.says(3);
    trio.epochs(2);
    expect(trio.of("target", "takeTransaction")).toEqual([]);
    expect(trio.of("target", "releaseOutput").at(-1)).not.toMatchObject({ to: 3 });
    trio.event("target", { kind: "baseFollowed" });
    expect(trio.of("target", "takeTransaction")).toMatchObject([{ n: 3, since: 2 }]);
    expect(trio.of("target", "releaseOutput").at(-1)).toMatchObject({ to: 3 });
  });

  it("is handed off where every page is there before that", () => {
    const trio = left();
    trio.event("target", { kind: "allPagesArrived" });
    trio.beat(3);
    expect(trio.states.target.opened).toMatchObject({ owner: "target", mode: "final" });
  });

  it("goes on at the target whose agent comes up again, though nobody has heard that it came", () => {
    const trio = asked();
    trio.shells.loses = (message) => "status" in message && message.status.opened.owner === "target";
    left(trio);
    const { promised, opened, leftAt } = trio.states.target;
    expect([opened.generation, trio.states.escrow.opened.generation]).toEqual([3, 2]);
    trio.shells.loses = () => false;
    const memory = { ...trio.remembered, vm: "running", base: "following", everFree: false, leftAt } as const;
    trio.start("target", { durable: { descriptor: promised, opened: false }, memory });
    trio.beat(8);
    expect(trio.of("target", "stopQemu")).toEqual([]);
    expect(trio.states.target).toMatchObject({ vm: "running", opened: { owner: "target", mode: "protected" } });
    expect(trio.states.target.opened.generation).toBeGreaterThan(opened.generation);
  });

  it("is made again by the target, whose QEMU waits in vain, when its host is gone", () => {
    const trio = asked();
    trio.deaf.add("source");
    trio.beat(12);
    expect(trio.of("target", "startRestore")).toMatchObject([{ n: 1, from: "log" }]);
  });

  it("goes on where it is, protected, when the target's QEMU is gone while memory goes ahead", () => {
    const trio = asked();
    trio.event("target", { kind: "qemuGone" });
    trio.beat(2);
    expect(trio.of("source", "cancelMigration")).toHaveLength(1);
    expect(trio.states.source).toMatchObject({ vm: "running", phase: "idle", leaving: null });
    expect(trio.states.source.opened).toMatchObject({ owner: "source", mode: "protected" });
  });

  it("leaves at the next attempt when the target's QEMU, which waited for the one before, was gone", () => {
    const trio = asked();
    trio.event("target", { kind: "qemuGone" });
    trio.beat(2);
    trio.event("source", { kind: "migrate" });
    trio.beat(1);
    expect(trio.of("source", "startMigration")).toHaveLength(2);
    left(trio);
    expect(trio.states.target).toMatchObject({ vm: "running", opened: { owner: "target", mode: "protected" } });
  });

  it("goes on where it is, and says why, when the escrow can store none of its records for long", () => {
    const trio = asked();
    trio.shells.stores = "failed";
    trio.event("source", { kind: "timer", timer: "epoch" });
    trio.event("source", { kind: "memoryAhead" });
    trio.beat(50);
    // It may be over soon, and nothing stands still for it.
    expect(trio.states.source).toMatchObject({ vm: "running", phase: "precopy", leaving: { stage: "wanted" } });
    trio.beat(60);
    expect(trio.states.source).toMatchObject({ vm: "running", phase: "idle", leaving: null });
    expect(trio.reports("source", "migration-given-up")).toEqual([
      { what: "migration-given-up", why: "the escrow cannot store what it is sent" },
    ]);
    trio.shells.stores = "stored";
    trio.beat(20);
    trio.event("source", { kind: "migrate" });
    trio.beat(1);
    left(trio);
    expect(trio.states.target).toMatchObject({ vm: "running", opened: { owner: "target", mode: "protected" } });
  });

  it("goes on where it is when its last transaction there is not stored", () => {
    const trio = asked();
    trio.shells.stores = "hold";
    trio.event("source", { kind: "memoryAhead" });
    trio.beat(20);
    expect(trio.of("source", "cancelMigration")).toHaveLength(1);
    expect(trio.sent("source", "package")).toEqual([]);
    expect(trio.states.source).toMatchObject({ vm: "running", phase: "idle", leaving: null });
    expect(trio.states.target.vm).toBe("none");
  });

  /** Its record before took 15 s to be stored: it is a large guest that writes all of its memory. */
  function large(): Trio {
    const trio = asked();
    trio.shells.stores = "hold";
    trio.event("source", { kind: "timer", timer: "epoch" });
    trio.beat(150);
    const { generation } = trio.states.source.opened;
    trio.event("escrow", { kind: "recordStored", generation, n: transactionNumber(2) });
    trio.event("source", { kind: "memoryAhead" });
    expect(trio.states.source.leaving).toMatchObject({ stage: "standing", n: 3 });
    return trio;
  }
  const why = (trio: Trio): unknown => trio.reports("source", "migration-given-up").map((report) => report.why);

  it("stands while its last transaction moves for twice as long as the one before took", () => {
    const trio = large();
    const moves = (beats: number): void => {
      for (let beat = 0; beat < beats; beat += 1) {
        const { generation } = trio.states.source.opened;
        trio.event("source", { kind: "recordSending", generation, n: transactionNumber(3) });
        trio.beat(1);
      }
    };
    moves(290);
    expect(why(trio)).toEqual([]);
    moves(30);
    expect(why(trio)).toEqual(["its last transaction takes too long"]);
    expect(trio.states.source).toMatchObject({ vm: "running", phase: "idle" });
  });

  it("stands while its last transaction, which is whole at the escrow, is stored for twice as long as the one before", () => {
    const trio = large();
    trio.beat(280);
    expect(trio.states.source.leaving).toMatchObject({ stage: "standing", n: 3 });
    trio.beat(40);
    expect(why(trio)).toEqual(["nothing moves of its last transaction"]);
  });

  it("stands no longer than three leases when the escrow says that it cannot store its last transaction", () => {
    const trio = asked();
    trio.shells.stores = "failed";
    trio.event("source", { kind: "memoryAhead" });
    trio.beat(10);
    expect(trio.states.source.leaving).toMatchObject({ stage: "standing", n: 2 });
    trio.beat(10);
    expect(why(trio)).toEqual(["the escrow cannot store its last transaction"]);
  });

  it("leaves when what its last transaction has beside memory is where the target finds it", () => {
    const trio = left(settling());
    expect(trio.states.source.leaving).toMatchObject({ stage: "settling", n: 2 });
    expect(trio.states.source.opened).toMatchObject({ owner: "source" });
    expect(trio.sent("source", "package")).toEqual([]);
    trio.event("source", { kind: "lastSettled", n: transactionNumber(1) });
    expect(trio.sent("source", "package")).toEqual([]);
    trio.event("source", { kind: "lastSettled", n: transactionNumber(2) });
    expect(trio.sent("source", "package")).toMatchObject([{ n: 2 }]);
  });

  it("goes on where it is when that does not come to be in time", () => {
    const trio = left(settling());
    trio.beat(20);
    expect(trio.of("source", "cancelMigration")).toHaveLength(1);
    trio.event("source", { kind: "lastSettled", n: transactionNumber(2) });
    trio.beat(1);
    expect(trio.sent("source", "package")).toEqual([]);
    expect(trio.states.source).toMatchObject({ vm: "running", phase: "idle", leaving: null });
    expect(trio.states.source.opened).toMatchObject({ owner: "source", mode: "protected" });
  });

  it("goes on where it is when that cannot be taken", () => {
    const trio = asked();
    trio.shells.takes = "failed";
    trio.event("source", { kind: "memoryAhead" });
    expect(trio.of("source", "cancelMigration")).toHaveLength(1);
    trio.shells.takes = "taken";
    trio.beat(3);
    expect(trio.states.source.opened).toMatchObject({ owner: "source", mode: "protected" });
  });

  it("is claimed back from the package when the target is gone, and from the log when more is committed", () => {
    for (const committed of [false, true]) {
      const trio = left();
      if (committed) trio.event("target", { kind: "baseFollowed" });
      trio.deaf.add("target");
      trio.beat(12);
      const from = committed ? { n: 3, from: "log" } : { n: 2, from: "package" };
      expect(trio.of("source", "startRestore")).toMatchObject([from]);
    }
  });

  it("goes on unprotected, and that is said, where the escrow does not have what it came with", () => {
    const trio = left();
    trio.event("escrow", { kind: "baseComplete", complete: false });
    trio.says(3);
    trio.beat(10);
    expect(trio.states.target.opened).toMatchObject({ owner: "target", mode: "unprotected" });
    expect(trio.reports("target", "protection-off")).toHaveLength(1);
    expect(trio.of("target", "takeTransaction")).toEqual([]);
  });

  it("is not asked to migrate before its protection is on", () => {
    const trio = new Trio();
    trio.beat(2);
    trio.event("source", { kind: "protect", on: true });
    trio.event("source", { kind: "migrate" });
    trio.beat(3);
    expect(trio.of("source", "startMigration")).toEqual([]);
  });
});
