import { describe, expect, it } from "vitest";
import { initialState, mayReplaceEscrow, step } from "./index.ts";
import { baseCopied, protectedAtSource } from "./testing/protected.ts";
import { Trio } from "./testing/trio.ts";

const KEY = "5a".repeat(16);

/** The source's VM is protected where it runs, and then the escrow is gone: it runs on unprotected. */
function unprotected(): Trio {
  const trio = protectedAtSource();
  trio.deaf.add("escrow");
  trio.beat(12);
  return trio;
}

/** Another one has its place: nothing that the one before had. */
function another(trio: Trio): void {
  trio.deaf.delete("escrow");
  trio.states.escrow = initialState({ ...trio.states.escrow.config, joins: true });
  trio.start("escrow");
}

describe("another escrow in the place of one that is gone", () => {
  it("is let in when both others have said that the VM is unprotected, and protects it with a new base", () => {
    const trio = unprotected();
    expect(trio.states.source.opened).toMatchObject({ owner: "source", mode: "unprotected" });
    another(trio);
    trio.event("source", { kind: "escrowReplaced", key: KEY });
    trio.beat(4);
    expect(trio.of("source", "answerEscrow")).toEqual([{ kind: "answerEscrow", key: KEY }]);
    // It was asked for nothing: the other host follows who has the VM.
    expect(trio.of("target", "answerEscrow")).toEqual([{ kind: "answerEscrow", key: KEY }]);
    expect(trio.states.escrow).toMatchObject({ letIn: true, promised: { owner: "source", mode: "unprotected" } });
    expect(trio.of("source", "startProtection")).toHaveLength(2);
    trio.event("escrow", { kind: "baseOffered", from: "source" });
    baseCopied(trio);
    expect(trio.states.source.opened).toMatchObject({ owner: "source", mode: "protected" });
    expect(trio.of("source", "takeTransaction").at(-1)).toMatchObject({ since: "base" });
    expect(trio.reports("source", "protection-on")).toHaveLength(2);
  });

  it("promises, adopts and stores nothing before, whatever it is asked", () => {
    const trio = unprotected();
    // It hears of one of them alone.
    trio.cut.add("source-escrow");
    another(trio);
    trio.beat(3);
    trio.event("escrow", { kind: "baseOffered", from: "source" });
    expect(trio.of("escrow", "adoptBase")).toHaveLength(1);
    expect(trio.states.escrow).toMatchObject({ letIn: false, promised: { generation: 0 } });
    const { opened: descriptor } = trio.states.source;
    const higher = { ...descriptor, generation: (descriptor.generation + 1) as typeof descriptor.generation };
    const ask = { kind: "ask", pre: false, descriptor: higher, attempt: 0 } as const;
    trio.event("escrow", { kind: "message", from: "source", message: ask });
    expect(trio.sent("escrow", "refuse").at(-1)).toMatchObject({ why: "just-started" });
  });

  it("is not taken by whoever has no VM, or one that is protected or still migrates", () => {
    const trio = unprotected();
    trio.event("target", { kind: "escrowReplaced", key: KEY });
    expect(trio.of("target", "answerEscrow")).toEqual([]);
    const migrating = new Trio().switchOver();
    migrating.beat(3);
    migrating.event("target", { kind: "escrowReplaced", key: KEY });
    expect(migrating.of("target", "answerEscrow")).toEqual([]);
  });

  it("is not said to be taken while a promise is being written: it would be forgotten", () => {
    const trio = unprotected();
    const { source } = trio.states;
    expect(mayReplaceEscrow(source)).toBe(true);
    const { state } = step(source, { kind: "escrowReplaced", key: KEY, now_ms: trio.now_ms });
    expect(state.persisting).not.toBeNull();
    expect(mayReplaceEscrow(state)).toBe(false);
  });

  it("is known again by agents that come up again, before they speak", () => {
    const trio = unprotected();
    another(trio);
    trio.event("source", { kind: "escrowReplaced", key: KEY });
    trio.beat(2);
    const durable = trio.of("source", "persistPromise").at(-1)?.durable ?? null;
    expect(durable).toMatchObject({ escrow: KEY });
    trio.done.length = 0;
    trio.start("source", { durable, memory: { ...trio.remembered, vm: "running", everFree: true } });
    expect(trio.done[0]?.action).toEqual({ kind: "answerEscrow", key: KEY });
    expect(trio.states.source.escrow).toBe(KEY);
  });
});
