import { describe, expect, it } from "vitest";
import type { TimelineEvent, TimelineEventBody } from "../base/timeline.ts";
import type { FaultPlan } from "../run/scenario.ts";
import { Coverage, Tracer } from "./coverage.ts";

const kill: FaultPlan = { fault: { fault: "kill-host", host: "target" }, at: { on: "pages", percent: 30 } };

function traceOf(faults: readonly FaultPlan[], bodies: readonly (TimelineEventBody & { lane?: string })[]) {
  const tracer = new Tracer({ faults }, "txsync");
  for (const [at, body] of bodies.entries()) tracer.see({ lane: "run", ...body, at_ms: at } as TimelineEvent);
  return tracer.trace;
}

describe("what a run was at", () => {
  const bodies: readonly (TimelineEventBody & { lane?: string })[] = [
    { kind: "migration.step", step: "setup" },
    { kind: "migration.step", step: "target-running" },
    { kind: "tx.committed", generation: 1, n: 1, latency_ms: 3 },
    { kind: "fault.injected", fault: "kill-host", id: "fault-0", what: "kill-host: target" },
    { kind: "restore.running", generation: 2, lane: "source" },
    { kind: "run.settled", how: "restored", owner: "source" },
  ];

  it("steps, what struck where, and by what way the VM came to where it is", () => {
    const trace = traceOf([kill], bodies);
    expect(trace.steps).toEqual(["setup", "target-running", "transaction-committed", "restore-running"]);
    expect(trace.struck).toEqual(["kill-host at target-running"]);
    expect(trace.paths).toEqual(["restored on source"]);
  });

  it("at a step it struck there, wherever the run had come to", () => {
    const { struck } = traceOf([{ ...kill, at: { on: "step", step: "transaction-committed" } }], bodies);
    expect(struck).toEqual(["kill-host at transaction-committed"]);
  });

  it("nothing broke: it was carried over, or never left", () => {
    const settled = (owner: "source" | "target"): TimelineEventBody => ({ kind: "run.settled", how: "", owner });
    expect(traceOf([], [settled("target")]).paths).toEqual(["carried over"]);
    expect(traceOf([], [settled("source")]).paths).toEqual(["never left"]);
    const switched = traceOf([], [{ kind: "migration.step", step: "switchover" }, settled("source")]);
    expect(switched.paths).toEqual(["goes on from its package"]);
  });

  it("counts places once for each run, and finds less new in what was seen", () => {
    const coverage = new Coverage();
    const scenario = {
      id: "a",
      group: "explored",
      title: "a",
      guests: ["integrity"],
      migration: { switchover: "at-once", bandwidth_bytes_per_s: 1 },
      faults: [kill],
      expect: { txsync: "intact" },
    } as const;
    const before = coverage.novelty(scenario, "txsync");
    coverage.add(traceOf([kill], bodies));
    coverage.add(traceOf([kill], bodies));
    expect(coverage.cells).toBe(1);
    expect(coverage.times("txsync", "step", "setup")).toBe(2);
    expect(coverage.novelty(scenario, "txsync")).toBeLessThan(before);
  });
});
