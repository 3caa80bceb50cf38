import { expect, test } from "vitest";
import { gateLimit } from "./gate.ts";
import { frameNumber, generation } from "./index.ts";
import { Trio } from "./testing/trio.ts";

test("a claim lets nothing out, whatever its VM has put out and whatever is committed: it may yet fail", () => {
  const { source } = new Trio().switchOver().states;
  const opened = { ...source.opened, generation: generation(5), owner: "source", mode: "claim" } as const;
  const gate = { ...source.gate, released: frameNumber(2), committed: frameNumber(4), produced: frameNumber(5) };
  for (const vm of ["none", "restoring", "ready", "running"] as const)
    expect(gateLimit({ ...source, promised: opened, opened, begun: opened.generation, vm, gate })).toBe(2);
});
