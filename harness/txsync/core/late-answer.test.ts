import { beforeEach, describe, expect, test } from "vitest";
import { Trio } from "./testing/trio.ts";

let trio: Trio;

/** Asked and answered, and what was said of it. */
const answers = (): string[] =>
  trio.of("escrow", "send").flatMap(({ message }) => {
    if (message.kind !== "promise" && message.kind !== "refuse") return [];
    return message.pre && message.descriptor.mode === "claim" ? [message.kind] : [];
  });

/** The target has the VM, and what it took is committed. */
beforeEach(() => {
  trio = new Trio();
  trio.switchOver().epochs(4);
  trio.done.splice(0);
});

/** The source loses sight of the target one heartbeat before the escrow does. */
function lostByTheSourceFirst(): void {
  trio.cut.add("source-target");
  trio.beat(1);
  trio.deaf.add("target");
  for (let beats = 0; answers().length === 0 && beats < 10; beats += 1) trio.beat(1);
}

describe("an escrow that still hears the owner is asked whether it would promise", () => {
  test("refuses, and answers as soon as its own lease runs out, not when it is asked again", () => {
    lostByTheSourceFirst();
    expect(answers()).toEqual(["refuse"]);
    const [timer, ...more] = trio.of("escrow", "setTimer").filter(({ timer }) => timer === "asked");
    expect(more).toEqual([]);
    const { delay_ms } = timer ?? { delay_ms: Number.NaN };
    expect(delay_ms).toBeLessThanOrEqual(101);
    trio.now_ms += delay_ms - 2;
    trio.event("escrow", { kind: "timer", timer: "asked" });
    expect(answers()).toEqual(["refuse"]);
    trio.now_ms += 2;
    trio.event("escrow", { kind: "timer", timer: "asked" });
    expect(answers()).toEqual(["refuse", "promise"]);
    // And the source goes on at once: no heartbeat of its own is needed.
    expect(trio.of("source", "startRestore")).toHaveLength(1);
    expect(trio.states.escrow.asker).toBeNull();
  });

  test("answers as soon as the owner says that its VM is gone", () => {
    trio.cut.add("source-target");
    for (let beats = 0; answers().length === 0 && beats < 10; beats += 1) trio.beat(1);
    expect(answers()).toEqual(["refuse"]);
    // Well, and far from silent: there is nothing to wait for yet.
    expect(trio.of("escrow", "setTimer").filter(({ timer }) => timer === "asked")).toEqual([]);
    trio.event("target", { kind: "qemuGone" });
    trio.event("target", { kind: "timer", timer: "heartbeat" });
    expect(answers()).toEqual(["refuse", "promise"]);
  });

  test("owes nothing to whoever has not asked again for two heartbeats", () => {
    lostByTheSourceFirst();
    expect(answers()).toEqual(["refuse"]);
    trio.now_ms += 201;
    trio.event("escrow", { kind: "timer", timer: "asked" });
    expect(answers()).toEqual(["refuse"]);
    expect(trio.states.escrow.asker).toBeNull();
  });
});
