import { describe, expect, it } from "vitest";
import {
  type AgentState,
  type Descriptor,
  frameNumber,
  generation,
  type HostMemory,
  initialState,
  type LogState,
  step,
} from "./index.ts";
import { baseCopied, protectedAtSource, protectionAsked } from "./testing/protected.ts";
import { Trio } from "./testing/trio.ts";

describe("a VM that is protected where it runs", () => {
  it("lets its output out until the escrow has its base, and then only what is committed", () => {
    const trio = protectionAsked();
    expect(trio.of("source", "startProtection")).toHaveLength(1);
    expect(trio.of("escrow", "adoptBase")).toEqual([{ kind: "adoptBase", from: "source" }]);
    trio.beat(3);
    expect(trio.of("source", "releaseOutput")).toMatchObject([{ from: 1, to: 2 }]);
    expect(trio.states.source.opened.generation).toBe(0);
    baseCopied(trio);
    expect(trio.states.source.opened).toMatchObject({
      owner: "source",
      mode: "protected",
      generation: 2,
      validFrom: 2,
    });
    expect(trio.of("source", "takeTransaction")).toMatchObject([{ n: 1, since: "base" }]);
    expect(trio.reports("source", "protection-on")).toHaveLength(1);
    trio.shells.stores = "hold";
    trio.event("source", { kind: "output", upTo: frameNumber(3) });
    trio.beat(2);
    expect(trio.of("source", "releaseOutput")).toHaveLength(1);
  });

  it("is made again by the target when its host is gone", () => {
    const trio = protectedAtSource();
    trio.deaf.add("source");
    trio.beat(12);
    expect(trio.states.target.opened).toMatchObject({ owner: "target", mode: "claim" });
    expect(trio.of("target", "startRestore")).toMatchObject([{ n: 1, from: "log" }]);
  });

  it("is made again where it was when only its QEMU died", () => {
    const trio = protectedAtSource();
    trio.event("source", { kind: "qemuGone" });
    trio.beat(4);
    expect(trio.of("source", "startRestore")).toMatchObject([{ n: 1, from: "log" }]);
    expect(trio.of("target", "startRestore")).toEqual([]);
  });

  it("is made again by the target, which hears its host, where that has lost it and does not reach the escrow", () => {
    const trio = protectedAtSource();
    trio.cut.add("source-escrow");
    trio.event("source", { kind: "qemuGone" });
    // A link that is silent for a moment is waited for: where the base is the VM is back sooner.
    trio.beat(20);
    expect(trio.states.target.opened.owner).toBe("source");
    trio.beat(30);
    expect(trio.states.target.opened).toMatchObject({ owner: "target", mode: "claim" });
    expect(trio.of("target", "startRestore")).toMatchObject([{ n: 1, from: "log" }]);
    expect(trio.of("source", "startRestore")).toEqual([]);
  });

  it("gives its base to the escrow again when that has lost it, and says that it is not protected meanwhile", () => {
    const trio = protectedAtSource();
    trio.event("escrow", { kind: "baseComplete", complete: false });
    trio.beat(10);
    expect(trio.reports("source", "protection-off")).toMatchObject([{ why: "the escrow has no base of this VM" }]);
    expect(trio.of("source", "startProtection")).toHaveLength(2);
    trio.event("escrow", { kind: "baseOffered", from: "source" });
    baseCopied(trio);
    expect(trio.states.source.opened.mode).toBe("protected");
    expect(trio.of("source", "takeTransaction").at(-1)).toMatchObject({ since: "base" });
    expect(trio.reports("source", "protection-on")).toHaveLength(2);
  });

  it("goes on where it stands when whoever claimed it finds that the base is gone", () => {
    const trio = protectedAtSource();
    trio.deaf.add("source");
    trio.beat(12);
    const { opened } = trio.states.target;
    expect(opened).toMatchObject({ owner: "target", mode: "claim" });
    trio.deaf.delete("source");
    trio.event("escrow", { kind: "baseComplete", complete: false });
    trio.beat(1);
    trio.event("target", { kind: "restoreFailed", generation: opened.generation });
    trio.beat(3);
    // It may be that the escrow's agent just came up: the restore is tried again.
    expect(trio.of("target", "startRestore")).toHaveLength(2);
    expect(trio.states.source.opened).toEqual(opened);
    trio.beat(5);
    trio.event("target", { kind: "restoreFailed", generation: opened.generation });
    trio.beat(8);
    expect(trio.of("target", "startRestore")).toHaveLength(2);
    expect(trio.states.source).toMatchObject({ vm: "running", opened: { owner: "source", mode: "unprotected" } });
    trio.event("escrow", { kind: "baseOffered", from: "source" });
    baseCopied(trio);
    expect(trio.states.source.opened).toMatchObject({ owner: "source", mode: "protected" });
    expect(trio.reports("source", "protection-on")).toHaveLength(2);
  });

  it("ends when it is not wanted any more, and the escrow lets go", () => {
    const trio = protectedAtSource();
    trio.event("source", { kind: "protect", on: false });
    trio.beat(4);
    expect(trio.states.source.opened).toMatchObject({ owner: "source", mode: "final" });
    expect(trio.of("source", "stopProtection")).toHaveLength(1);
    expect(trio.of("escrow", "finish")).toHaveLength(1);
  });
});

describe("an escrow that is offered a base", () => {
  it("takes it of nobody but the VM's owner, and gives up none that something rests on", () => {
    const trio = protectedAtSource();
    trio.event("escrow", { kind: "baseOffered", from: "source" });
    trio.event("escrow", { kind: "baseOffered", from: "target" });
    expect(trio.of("escrow", "adoptBase")).toHaveLength(1);
    expect(trio.states.escrow.log?.last).toBe(1);
  });
});

describe("an escrow that is asked for a claim", () => {
  it.each([
    { from: 2, answer: "promise" },
    { from: 3, answer: "refuse" },
  ] as const)("answers with $answer where who asks counts records from generation $from on", ({ from, answer }) => {
    const trio = protectedAtSource();
    trio.deaf.add("source").add("target");
    trio.beat(8);
    expect(trio.states.escrow.log?.generation).toBe(2);
    const [claim, validFrom] = [generation(9), generation(from)];
    const descriptor: Descriptor = { generation: claim, owner: "source", mode: "claim", validFrom, basis: null };
    trio.event("escrow", {
      kind: "message",
      from: "source",
      message: { kind: "ask", pre: true, descriptor, attempt: 0 },
    });
    expect(trio.sent("escrow", answer).at(-1)).toMatchObject({
      descriptor,
      ...(answer === "refuse" ? { why: "log-cannot-restore" } : {}),
    });
  });
});

describe("an escrow that comes up again", () => {
  /** The target is cut off from the source, and the escrow dies before it has told of the generation. */
  function up(logOf: "this generation" | "one before" | "none"): Trio {
    const trio = new Trio();
    trio.cut.add("source-target");
    const { descriptor, log } = stored();
    trio.deaf.add("source");
    const kept = { ...log, generation: generation(logOf === "one before" ? 1 : 2) };
    trio.start("escrow", { durable: { descriptor, opened: false }, log: logOf === "none" ? null : kept });
    trio.event("escrow", { kind: "baseComplete", complete: true });
    trio.beat(14);
    return trio;
  }

  function stored(): { readonly descriptor: Descriptor; readonly log: LogState } {
    const { promised, log } = protectedAtSource().states.escrow;
    if (log === null) throw new Error("nothing is stored");
    return { descriptor: promised, log };
  }

  it("knows from its log that what it promised was opened, so that the VM is made again by who never heard of it", () => {
    const trio = up("this generation");
    expect(trio.states.target.opened).toMatchObject({ owner: "target", mode: "claim", generation: 3 });
    expect(trio.of("target", "startRestore")).toMatchObject([{ n: 1, from: "log" }]);
  });

  it.each(["kept", "lost"] as const)(
    "restores nothing of a log that lost records, though it died before it had noted so, and its host's memory was $0",
    (host) => {
      const trio = new Trio();
      const { descriptor, log } = stored();
      const config = { ...trio.states.escrow.config, logSync: host === "kept" ? "disk" : "memory" } as const;
      const up = (memory: HostMemory | null): AgentState =>
        step(initialState(config), {
          ...{ kind: "started", now_ms: trio.now_ms, incarnation: 9 },
          ...{ durable: { descriptor, opened: false }, memory, log: null },
        }).state;
      const remembered = { ...trio.remembered, everFree: false };
      const first = up(host === "kept" ? { ...remembered, log } : null);
      const again = up({ ...remembered, log: first.log, logLost: first.logLost });
      for (const state of [first, again])
        expect(state).toMatchObject({ promised: { validFrom: descriptor.generation + 1 }, logLost: true });
      const noted = { kind: "promisePersisted", now_ms: trio.now_ms, generation: descriptor.generation } as const;
      expect(step(again, noted).state.logLost).toBe(false);
    },
  );

  it.each(["one before", "none"] as const)("does not where the log is of $0", (logOf) => {
    const trio = up(logOf);
    expect(trio.states.escrow.opened.generation).toBe(0);
    expect(trio.of("target", "startRestore")).toEqual([]);
  });
});
