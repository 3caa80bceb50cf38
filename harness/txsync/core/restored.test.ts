import { describe, expect, it } from "vitest";
import { wish } from "./decide.ts";
import {
  type AgentState,
  type Descriptor,
  type Durable,
  frameNumber,
  generation,
  type HostMemory,
  transactionNumber,
} from "./index.ts";
import { Trio } from "./testing/trio.ts";

/** The target's QEMU has died, and the source has its VM ready, of a transaction that covers three frames. */
function ready(): Trio {
  const trio = new Trio();
  trio.shells.runs = "hold";
  trio.switchOver();
  trio.says(3);
  trio.event("target", { kind: "qemuGone" });
  trio.beat(2);
  restored(trio);
  trio.beat(1);
  return trio;
}

function restored(trio: Trio): void {
  const { opened } = trio.states.source;
  const n = transactionNumber(trio.states.escrow.log?.last ?? 0);
  const [mark, acked] = [frameNumber(3), frameNumber(1)];
  trio.event("source", { kind: "restoreReady", generation: opened.generation, n, mark, acked });
}

const says = (trio: Trio, upTo: number): void => trio.event("source", { kind: "output", upTo: frameNumber(upTo) });

describe("a restored VM that was asked to run", () => {
  it("lets nothing out that its transaction does not cover, before it is known to run", () => {
    const trio = ready();
    expect(trio.of("source", "runQemu")).toHaveLength(1);
    expect(trio.states.source).toMatchObject({ vm: "ready", opened: { mode: "final", owner: "source" } });
    says(trio, 5);
    trio.beat(2);
    expect(trio.of("source", "releaseOutput")).toMatchObject([{ from: 2, to: 3 }]);
    trio.event("source", { kind: "vmRunning" });
    expect(trio.of("source", "releaseOutput").at(-1)).toMatchObject({ from: 4, to: 5 });
    expect(trio.states.source).toMatchObject({ vm: "running", phase: "completed", ranFree: true });
  });

  it("is asked again, a heartbeat later, when QEMU says that it does not run", () => {
    const trio = ready();
    trio.event("source", { kind: "runFailed" });
    expect(trio.of("source", "runQemu")).toHaveLength(1);
    trio.shells.runs = "running";
    trio.beat(2);
    expect(trio.of("source", "runQemu")).toHaveLength(2);
    expect(trio.states.source.vm).toBe("running");
    trio.event("source", { kind: "runFailed" });
    trio.beat(2);
    expect(trio.of("source", "runQemu")).toHaveLength(2);
  });

  it("is restored again from the same when it dies before it was known to run, and what it said is nobody's", () => {
    const trio = ready();
    says(trio, 5);
    // No vote is answered at once.
    trio.shells.loses = ({ kind }) => kind === "ask";
    trio.event("source", { kind: "qemuGone" });
    // The last of it, stored late or read late out of its socket.
    says(trio, 6);
    trio.shells.loses = () => false;
    trio.event("source", { kind: "edgeConnected", upTo: frameNumber(3) });
    expect(trio.of("source", "releaseOutput").every(({ to }) => to <= 3)).toBe(true);
    trio.shells.runs = "running";
    trio.beat(3);
    const restores = trio.of("source", "startRestore");
    expect(restores).toHaveLength(2);
    expect(restores[1]).toMatchObject({ n: restores[0]?.n, from: "log" });
    expect(restores[1]?.generation).toBeGreaterThan(trio.states.source.opened.generation - 1);
    expect(trio.states.source.opened).toMatchObject({ owner: "source", mode: "claim" });
    restored(trio);
    trio.beat(2);
    expect(trio.states.source).toMatchObject({ vm: "running", opened: { mode: "final" }, gate: { released: 3 } });
    says(trio, 4);
    expect(trio.of("source", "releaseOutput").at(-1)).toMatchObject({ from: 4, to: 4 });
  });

  it("is lost, and said to be, when it dies after it was known to run", () => {
    const trio = ready();
    trio.event("source", { kind: "vmRunning" });
    trio.event("source", { kind: "qemuGone" });
    trio.beat(5);
    expect(trio.of("source", "startRestore")).toHaveLength(1);
    expect(trio.reports("source", "lost")).toHaveLength(1);
    expect(trio.states.source.phase).toBe("lost");
  });

  describe("whose agent died", () => {
    const again = (trio: Trio, found: Partial<HostMemory>): AgentState => {
      const { promised, everFree, ranFree, gate } = trio.states.source;
      trio.start("source", {
        durable: { descriptor: promised, opened: true },
        memory: {
          ...trio.remembered,
          everFree,
          ranFree,
          produced: gate.produced,
          contained: gate.committed,
          acked: gate.acked,
          ...found,
        },
      });
      // Just started it has to listen for a lease first.
      trio.beat(8);
      return trio.states.source;
    };

    it("and that died with it, is restored again, and nothing of what it said leaves", () => {
      const trio = ready();
      says(trio, 5);
      const { opened } = again(trio, { vm: "none" });
      expect(opened).toMatchObject({ owner: "source", mode: "claim" });
      expect(trio.of("source", "startRestore")).toHaveLength(2);
      expect(trio.of("source", "releaseOutput").every(({ to }) => to <= 3)).toBe(true);
    });

    it("and that stands ready still, is asked again", () => {
      const trio = ready();
      trio.shells.runs = "running";
      const { restored } = trio.states.source;
      expect(again(trio, { vm: "ready", restored })).toMatchObject({ vm: "running", phase: "completed" });
      expect(trio.of("source", "runQemu")).toHaveLength(2);
    });

    it("and that stands ready still, as far as is known, lets nothing out that it may have said since it was told to run", () => {
      const trio = ready();
      const { restored } = trio.states.source;
      trio.done.splice(0);
      const [produced, contained] = [frameNumber(9), frameNumber(3)];
      const state = again(trio, { vm: "ready", restored, produced, contained, acked: frameNumber(1) });
      expect(state).toMatchObject({ vm: "ready", runAsked: true, opened: { mode: "final" } });
      trio.event("source", { kind: "edgeConnected", upTo: frameNumber(1) });
      expect(trio.of("source", "releaseOutput").map(({ to }) => to)).toEqual([3]);
      // It is gone before it was known to run: it is restored from the same, and nobody has seen more than that.
      trio.event("source", { kind: "qemuGone" });
      trio.beat(3);
      expect(trio.of("source", "startRestore")).toHaveLength(1);
      expect(trio.of("source", "releaseOutput").map(({ to }) => to)).toEqual([3]);
    });

    /** The target's agent was only away; the second vote is on the source's disk, and nobody's answer came before it died. */
    function half(found: Partial<HostMemory>, back: boolean): Trio {
      const trio = new Trio();
      trio.switchOver();
      trio.says(3);
      trio.beat(2);
      trio.deaf.add("target");
      // Of its claim nobody has heard but the source itself.
      trio.shells.loses = (message) =>
        ("status" in message && message.status.opened.mode === "claim") ||
        (message.kind === "promise" && !message.pre && message.descriptor.mode === "final");
      for (let i = 0; i < 12 && trio.states.source.vm !== "restoring"; i += 1) trio.beat(1);
      restored(trio);
      const { promised, restored: basis } = trio.states.source;
      expect(promised).toMatchObject({ owner: "source", mode: "final", basis });
      trio.shells.loses = () => false;
      trio.deaf.add("source");
      if (back) trio.deaf.delete("target");
      trio.beat(8);
      trio.deaf.delete("source");
      const memory = { ...trio.remembered, everFree: false, restored: basis, ...found };
      trio.start("source", { durable: { descriptor: promised, opened: false }, memory });
      trio.beat(12);
      return trio;
    }

    it("and that stands ready still, runs although who has not heard of its claim speaks of what was before", () => {
      const trio = half({ vm: "ready", contained: frameNumber(3), produced: frameNumber(3) }, true);
      expect(trio.of("source", "abortRestore")).toEqual([]);
      expect(trio.states.source).toMatchObject({ vm: "running", opened: { owner: "source", mode: "final" } });
      expect(trio.states.target).toMatchObject({ vm: "gone" });
    });

    it("and that is known to have run, is not made again for an old word of who has not heard of its claim", () => {
      const trio = half({ vm: "none", everFree: true, ranFree: true }, false);
      expect(trio.states.source.ranFree).toBe(true);
      expect(trio.of("source", "startRestore")).toHaveLength(1);
    });

    const basis = { claim: generation(5), n: transactionNumber(1) };
    const made = (g: number, owner: "source" | "target", mode: Descriptor["mode"]): Descriptor => ({
      ...{ generation: generation(g), owner, mode, validFrom: generation(1) },
      basis: mode === "final" ? basis : null,
    });

    /** Between its claim and its `final` the target was back for a moment, and it is cut off from all since. */
    it.each<{ what: string; durable: Durable }>([
      { what: "is not noted yet", durable: { descriptor: made(7, "source", "final"), opened: false } },
      { what: "is not the last promise", durable: { descriptor: made(8, "source", "protected"), opened: false } },
    ])("and that runs freely, is not closed out by what came before that, which $what", ({ durable }) => {
      const trio = new Trio().switchOver();
      trio.says(3);
      trio.beat(2);
      trio.deaf.add("escrow").add("target");
      const came = made(6, "target", "protected");
      const free = { everFree: true, ranFree: true, opened: made(7, "source", "final"), restored: basis } as const;
      trio.start("source", { durable, memory: { ...trio.remembered, vm: "running", ...free } });
      const memory = { ...trio.remembered, vm: "running", everFree: false, opened: came } as const;
      trio.start("target", { durable: { descriptor: came, opened: false }, memory });
      trio.deaf.delete("target");
      trio.beat(3);
      expect(trio.of("source", "stopQemu")).toEqual([]);
      expect(trio.states.source).toMatchObject({ vm: "running", opened: { generation: 7 } });
      expect(trio.states.target.vm).toBe("gone");
    });

    it("and that had run, is not", () => {
      const trio = ready();
      trio.event("source", { kind: "vmRunning" });
      expect(again(trio, { vm: "none" }).ranFree).toBe(true);
      trio.beat(20);
      expect(trio.of("source", "startRestore")).toHaveLength(1);
      // Nor is anybody asked for it, who would refuse.
      expect(wish(trio.states.source)).toBeNull();
    });
  });
});
