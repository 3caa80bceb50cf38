import { describe, expect, it } from "vitest";
import {
  type Action,
  type AgentState,
  frameNumber,
  type HostMemory,
  initialState,
  mayGoOn,
  step,
  transactionNumber,
} from "./index.ts";
import { Trio } from "./testing/trio.ts";

describe("the core", () => {
  it("hands the VM over, lets output out once it is committed, and ends with one owner", () => {
    const trio = new Trio().switchOver();
    expect(trio.states.target).toMatchObject({ vm: "running", phase: "draining" });
    expect(trio.sent("source", "package")).toHaveLength(1);
    trio.event("target", { kind: "output", upTo: frameNumber(2) });
    expect(trio.of("target", "releaseOutput")).toMatchObject([{ generation: 1, from: 1, to: 2 }]);
    expect(trio.states.escrow.log?.mark).toBe(2);
    trio.event("target", { kind: "allPagesArrived" });
    trio.beat(3);
    expect(trio.states.target).toMatchObject({ phase: "completed", opened: { owner: "target", mode: "final" } });
    expect(trio.of("source", "finish")).toHaveLength(1);
    expect(trio.of("escrow", "finish")).toHaveLength(1);
  });

  it("gives a migration up at once when the target's QEMU, which waited for it, is gone", () => {
    const trio = new Trio();
    trio.beat(1);
    trio.event("source", { kind: "migrate" });
    trio.beat(2);
    expect(trio.of("source", "startMigration")).toHaveLength(1);
    trio.event("target", { kind: "qemuGone" });
    trio.beat(2);
    expect(trio.of("source", "cancelMigration")).toHaveLength(1);
    expect(trio.states.source).toMatchObject({ vm: "running", phase: "idle", migrating: false });
  });

  it("migrates at the next attempt when the target's QEMU, which waited for the one before, was gone", () => {
    const trio = new Trio();
    trio.beat(1);
    trio.event("source", { kind: "migrate" });
    trio.beat(2);
    trio.event("target", { kind: "qemuGone" });
    trio.beat(2);
    expect(trio.states.target.vm).toBe("gone");
    trio.event("source", { kind: "migrate" });
    trio.beat(2);
    expect(trio.states.target.vm).toBe("incoming");
    expect(trio.of("source", "startMigration")).toHaveLength(2);
    trio.event("source", { kind: "packageReady", mark: frameNumber(0), acked: frameNumber(0) });
    trio.beat(1);
    expect(trio.states.target).toMatchObject({ vm: "running", opened: { generation: 1 } });
  });

  it("does not wait again in the attempt in which its QEMU was gone, nor in another life for a VM that it may have had", () => {
    const trio = new Trio();
    trio.beat(1);
    trio.event("source", { kind: "migrate" });
    trio.beat(2);
    const [ask] = trio.sent("source", "ask");
    if (ask === undefined) throw new Error("nobody was asked");
    trio.event("target", { kind: "qemuGone" });
    trio.event("target", { kind: "message", from: "source", message: ask });
    expect(trio.states.target.vm).toBe("gone");
    const { promised: descriptor } = trio.states.target;
    trio.start("target", {
      durable: { descriptor, opened: false },
      memory: { ...trio.remembered, everFree: false, vm: "gone" },
    });
    trio.event("target", { kind: "message", from: "source", message: { ...ask, attempt: ask.attempt + 1 } });
    expect(trio.states.target.vm).toBe("gone");
  });

  it("gives a migration up that nobody joins: the VM goes on, and may be asked for another one", () => {
    const trio = new Trio();
    trio.beat(1);
    trio.deaf.add("target");
    trio.event("source", { kind: "migrate" });
    trio.beat(150);
    expect(trio.of("source", "cancelMigration")).toHaveLength(1);
    expect(trio.states.source).toMatchObject({ vm: "running", phase: "idle", migrating: false, joined: [] });
    trio.deaf.clear();
    trio.beat(10);
    trio.event("source", { kind: "migrate" });
    trio.beat(2);
    expect(trio.of("source", "startMigration")).toHaveLength(1);
  });

  it("lets a source that never hears the target again know from the escrow that it is not needed any more", () => {
    const trio = new Trio().switchOver();
    trio.beat(2);
    trio.cut.add("source-target");
    trio.beat(8);
    trio.event("target", { kind: "allPagesArrived" });
    trio.beat(3);
    expect(trio.states.target).toMatchObject({ phase: "completed", opened: { owner: "target", mode: "final" } });
    expect(trio.of("source", "finish")).toHaveLength(1);
    expect(trio.states.source).toMatchObject({ phase: "completed", vm: "none", finished: true });
  });

  it("keeps the gate shut when the escrow does not answer, until the source has promised", () => {
    const trio = new Trio().switchOver();
    trio.deaf.add("escrow");
    trio.event("target", { kind: "output", upTo: frameNumber(1) });
    expect(trio.of("target", "releaseOutput")).toEqual([]);
    trio.beat(8);
    expect(trio.states.target.opened).toMatchObject({ generation: 2, mode: "unprotected" });
    expect(trio.of("target", "releaseOutput")).toMatchObject([{ generation: 2, from: 1, to: 1 }]);
    expect(trio.states.source.promised).toMatchObject({ generation: 2, owner: "target" });
  });

  it("restores a dead target's VM on the source, and lets it run only after the second vote", () => {
    const trio = new Trio().switchOver();
    trio.event("target", { kind: "output", upTo: frameNumber(3) });
    trio.event("target", { kind: "qemuGone" });
    trio.beat(2);
    const [restore] = trio.of("source", "startRestore");
    expect(restore).toMatchObject({ generation: 2, from: "log" });
    expect(trio.of("source", "runQemu")).toEqual([]);
    const n = transactionNumber(trio.states.escrow.log?.last ?? 0);
    trio.event("source", {
      kind: "restoreReady",
      generation: trio.states.source.opened.generation,
      n,
      mark: frameNumber(3),
      acked: frameNumber(1),
    });
    trio.beat(1);
    expect(trio.of("source", "runQemu")).toHaveLength(1);
    expect(trio.of("source", "releaseOutput").at(-1)).toMatchObject({ generation: 3, from: 2, to: 3 });
    expect(trio.states.source).toMatchObject({ vm: "running", phase: "completed" });
  });

  it("does nothing to a VM whose owner is still heard by the escrow", () => {
    const trio = new Trio().switchOver();
    for (let i = 0; i < 10; i += 1) {
      trio.now_ms += 100;
      for (const role of ["target", "escrow"] as const) trio.event(role, { kind: "timer", timer: "heartbeat" });
    }
    trio.event("source", { kind: "timer", timer: "heartbeat" });
    expect(trio.of("source", "startRestore")).toEqual([]);
    expect(trio.states.target.opened.generation).toBe(1);
  });

  it("promises a number once, and never below", () => {
    const trio = new Trio().switchOver();
    const before = trio.states.escrow.promised;
    for (const g of [0, 1]) {
      const descriptor = { ...before, generation: before.generation, owner: "source" as const, mode: "claim" as const };
      trio.event("escrow", {
        kind: "message",
        from: "source",
        message: {
          kind: "ask",
          pre: false,
          attempt: 0,
          descriptor: { ...descriptor, generation: g as unknown as typeof before.generation },
        },
      });
    }
    expect(trio.states.escrow.promised).toEqual(before);
    expect(trio.of("escrow", "send").at(-1)).toMatchObject({ message: { kind: "refuse" } });
  });

  it("does not give up the next attempt when it hears late that the one before was given up", () => {
    const trio = new Trio();
    trio.beat(1);
    trio.event("source", { kind: "migrate" });
    trio.beat(1);
    trio.event("source", { kind: "migrationFailed" });
    const late = trio
      .of("source", "send")
      .flatMap(({ to, message }) => (to === "target" && message.kind === "cancel" ? [message] : []));
    expect(late).toHaveLength(1);
    expect(trio.states.target.vm).toBe("none");
    trio.beat(1);
    trio.event("source", { kind: "migrate" });
    trio.beat(1);
    for (const message of late) trio.event("target", { kind: "message", from: "source", message });
    expect(trio.states.target.vm).toBe("incoming");
    trio.event("source", { kind: "packageReady", mark: frameNumber(0), acked: frameNumber(0) });
    trio.beat(1);
    expect(trio.states.target.vm).toBe("running");
  });

  it("is not bound by a promise that its owner passed over without opening it", () => {
    const trio = new Trio().switchOver();
    trio.beat(2);
    const asks = (generation: number, mode: "unprotected" | "protected") =>
      ({
        kind: "message",
        from: "target",
        message: {
          kind: "ask",
          pre: false,
          attempt: 0,
          descriptor: { ...trio.states.target.promised, generation: generation as never, mode },
        },
      }) as const;
    // The target dies after it asked for protection again, before it could tell anybody that it goes without.
    trio.deaf.add("target");
    trio.event("source", asks(2, "unprotected"));
    trio.event("escrow", asks(3, "protected"));
    expect(trio.states.source.promised).toMatchObject({ generation: 2, mode: "unprotected" });
    expect(trio.states.escrow.promised).toMatchObject({ generation: 3, mode: "protected" });
    trio.beat(10);
    expect(trio.states.source).toMatchObject({ opened: { owner: "source", mode: "claim" }, vm: "restoring" });
  });

  it("claims anew after a restart when the vote for its restored VM was not through", () => {
    const trio = new Trio().switchOver();
    trio.beat(2);
    const config = trio.states.source.config;
    const final = { ...trio.states.source.promised, generation: 3 as never, owner: "source", mode: "final" } as const;
    const memory: HostMemory = { ...trio.remembered, everFree: false };
    const started = (known: HostMemory | null): AgentState =>
      step(initialState(config), {
        kind: "started",
        incarnation: 2,
        now_ms: trio.now_ms,
        durable: { descriptor: final, opened: false },
        memory: known,
        log: null,
      }).state;
    expect(started(memory).ranFree).toBe(false);
    expect(started({ ...memory, everFree: true }).ranFree).toBe(false);
    expect(started({ ...memory, everFree: true, ranFree: true }).ranFree).toBe(true);
    expect(started(null).ranFree).toBe(true);
  });

  describe("a VM that a restarted agent finds", () => {
    const restarted = (trio: Trio): void => {
      const { promised } = trio.states.target;
      trio.deaf.delete("target");
      trio.event("target", {
        kind: "started",
        incarnation: 2,
        durable: { descriptor: promised, opened: false },
        memory: { ...trio.remembered, vm: "running", hasBase: false, hasPackage: false, everFree: false },
        log: null,
      });
    };

    it("goes on as soon as anybody is heard who knows of no other owner", () => {
      const trio = new Trio().switchOver();
      trio.beat(2);
      trio.deaf.add("source").add("escrow");
      restarted(trio);
      expect(mayGoOn(trio.states.target)).toBe(false);
      trio.beat(2);
      expect(mayGoOn(trio.states.target)).toBe(false);
      trio.deaf.delete("escrow");
      trio.beat(1);
      expect(mayGoOn(trio.states.target)).toBe(true);
    });

    it.each(["source", "escrow"] as const)("stands still when %s has promised it to another meanwhile", (only) => {
      const trio = new Trio().switchOver();
      trio.beat(2);
      trio.deaf.add("target");
      trio.beat(12);
      expect(trio.states.source.opened).toMatchObject({ owner: "source", mode: "claim" });
      trio.deaf.add(only === "source" ? "escrow" : "source");
      restarted(trio);
      for (let i = 0; i < 20; i += 1) {
        trio.beat(1);
        // Left alone with the target for a lease, the escrow may promise it to the target again.
        const theirs = trio.states[only].promised.owner === "source";
        if (theirs || i < 3) expect(mayGoOn(trio.states.target)).toBe(false);
      }
    });

    it("runs on at the source when nothing was promised before its agent died, whatever it had begun", () => {
      const { states, remembered } = new Trio();
      const restart = (memory: HostMemory | null): readonly Action[] =>
        step(initialState(states.source.config), {
          kind: "started",
          incarnation: 2,
          now_ms: 1,
          durable: null,
          memory,
          log: null,
        }).actions;
      const memory = { ...remembered, vm: "running", everFree: false } as const;
      expect(restart(memory)).toContainEqual({ kind: "cancelMigration" });
      expect(restart(null)).not.toContainEqual({ kind: "cancelMigration" });
    });

    it("goes on at once on the source, while nobody else was promised anything", () => {
      const trio = new Trio();
      trio.deaf.add("target").add("escrow");
      trio.event("source", { kind: "started", incarnation: 1, durable: null, memory: null, log: null });
      expect(mayGoOn(trio.states.source)).toBe(true);
    });
  });
});
