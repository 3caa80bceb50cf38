import { describe, expect, it } from "vitest";
import type { Lane, TimelineEvent, TimelineEventBody } from "../base/timeline.ts";
import { makeRecord } from "../run/make-record.ts";
import { measure } from "./measure.ts";

function at(at_ms: number, lane: Lane, body: TimelineEventBody): TimelineEvent {
  return { at_ms, lane, ...body };
}

function step(at_ms: number, step: number, host: "source" | "target" = "target"): TimelineEvent {
  return at(at_ms, host, { kind: "guest.progress", host, cpu: 0, step });
}

function taken(n: number, still_ms: number | undefined): TimelineEvent {
  const parts = { stop_ms: 0.5, device_ms: 1.5, find_ms: 0.25, copy_ms: 1, pause_ms: 9 };
  const stamps = still_ms === undefined ? {} : { still_ms, cont_ms: 0.2 };
  return at(n, "target", { kind: "tx.taken", generation: 1, n, pages: 1, bytes: 1, ...parts, ...stamps });
}

function usage(at_ms: number, lane: Lane, sent_bytes: number, agent_cpu_ms?: number): TimelineEvent {
  const agent = agent_cpu_ms === undefined ? {} : { agent_cpu_ms };
  return at(at_ms, lane, { kind: "host.usage", qemu_cpu_ms: 5, sent_bytes, received_bytes: 1, ...agent });
}

describe("what is measured in a run", () => {
  it("are the record's timings and nothing else where the timeline tells nothing", () => {
    const timings = {
      total_ms: 9_000,
      migration_ms: 2_000,
      downtime_ms: 80,
      detect_ms: 500,
      recover_ms: 40,
      lost_steps: 3,
    };
    const { measures, pauses, output_waits_ms } = measure(makeRecord({ timings }), []);
    expect(measures).toEqual({ total_ms: 2_000, downtime_ms: 80, detect_ms: 500, recover_ms: 40, lost_steps: 3 });
    expect([pauses, output_waits_ms]).toEqual([[], []]);
  });

  it("are pauses by QEMU's stamps with their parts, every one kept", () => {
    const { measures, pauses } = measure(makeRecord(), [taken(1, 3), taken(2, 5)]);
    expect(measures).toMatchObject({ pause_p50_ms: 4, pause_p99_ms: 4.98, stop_p50_ms: 0.5, device_p99_ms: 1.5 });
    expect(measures).toMatchObject({ find_copy_p50_ms: 1.25, cont_p50_ms: 0.2 });
    expect(pauses.map(({ still_ms, stamped }) => [still_ms, stamped])).toEqual([
      [3, true],
      [5, true],
    ]);
  });

  it("are pauses as the agent saw them where there are no stamps, and it is said", () => {
    const { measures, pauses } = measure(makeRecord(), [taken(1, undefined)]);
    expect(pauses).toEqual([{ still_ms: 9, stamped: false, stop_ms: 0.5, device_ms: 1.5, find_copy_ms: 1.25 }]);
    expect(measures).not.toHaveProperty("cont_p50_ms");
  });

  it("are bytes and processor time of all hosts, each by its last word", () => {
    const timings = { total_ms: 9_000, migration_ms: 2_000 };
    const events = [
      usage(0, "source", 0, 0),
      usage(0, "target", 0, 0),
      usage(0, "escrow", 0, 0),
      usage(900, "source", 700, 100),
      usage(1_000, "target", 20, 300),
      usage(1_900, "source", 1_000, 400),
    ];
    expect(measure(makeRecord({ timings }), events).measures).toMatchObject({
      wire_bytes: 1_020,
      agents_cpu_ms: 700,
      agents_cpu_share: 0.35,
    });
    expect(measure(makeRecord({ timings }), [usage(1, "source", 8)]).measures).toEqual({
      total_ms: 2_000,
      wire_bytes: 8,
    });
  });

  it("are until the VM is whole where it went, and not until everything is tidied up", () => {
    const asked = at(100, "run", { kind: "run.phase", phase: "migrate" });
    const timings = { total_ms: 9_000, migration_ms: 2_000 };
    const completed = at(1_300, "migration", { kind: "migration.step", step: "completed" });
    const handoff = at(1_500, "target", { kind: "handoff", generation: 2, n: 3 });
    expect(measure(makeRecord({ timings }), [asked, completed]).measures.total_ms).toBe(1_200);
    expect(measure(makeRecord({ timings }), [asked, handoff]).measures.total_ms).toBe(1_400);
    expect(measure(makeRecord({ timings }), [asked]).measures.total_ms).toBe(2_000);
  });

  it("are how long the VM stood still at switchover by QEMU's stamps, and how long the post-copy took", () => {
    const told = (lane: "source" | "target", event: "STOP" | "RESUME", qemu_ms: number): TimelineEvent =>
      at(qemu_ms + 5, lane, { kind: "qmp.event", event, data: {}, qemu_ms });
    const of = (events: readonly TimelineEvent[]): ReturnType<typeof measure>["measures"] =>
      measure(makeRecord(), events).measures;
    const stop = told("source", "STOP", 100);
    const resume = told("target", "RESUME", 121.5);
    // Those of transactions, before and after it.
    const others = [
      told("source", "STOP", 20),
      told("source", "RESUME", 24),
      told("target", "STOP", 300),
      told("target", "RESUME", 400),
    ];
    expect(of([stop, resume, ...others])).toMatchObject({ switchover_ms: 21.5 });
    for (const few of [[], [stop], [resume]]) expect(of(few)).not.toHaveProperty("switchover_ms");
    const running = at(130, "migration", { kind: "migration.step", step: "target-running" });
    const handoff = at(160.25, "target", { kind: "handoff", generation: 2, n: 0 });
    expect(of([running, handoff])).toMatchObject({ postcopy_ms: 30.3 });
    expect(of([running])).not.toHaveProperty("postcopy_ms");
    expect(measure(makeRecord({ timings: { total_ms: 1, source_needed_ms: 31 } }), []).measures).toMatchObject({
      source_needed_ms: 31,
    });
  });

  it("are what protection costs a VM that stays: compared with itself before, until something breaks", () => {
    const released = (at_ms: number, waited_ms: number): TimelineEvent =>
      at(at_ms, "source", { kind: "gate.released", generation: 1, n: 1, bytes: 1, waited_ms });
    const { measures, pauses, output_waits_ms } = measure(makeRecord(), [
      step(0, 0, "source"),
      step(1_000, 1_000, "source"),
      at(1_000, "run", { kind: "run.phase", phase: "migrate" }),
      released(1_500, 1),
      at(2_000, "source", { kind: "protection", state: "on", why: "" }),
      step(2_000, 1_500, "source"),
      taken(2_100, 3),
      released(2_150, 30),
      at(2_500, "escrow", { kind: "tx.stored", generation: 1, n: 1, bytes: 4_000_000 }),
      step(4_000, 2_500, "source"),
      at(4_000, "run", { kind: "fault.injected", fault: "kill-host", id: "0", what: "" }),
      taken(4_100, 99),
      released(4_100, 900),
    ]);
    expect(measures).toMatchObject({ free_steps_per_s: 1_000, protected_steps_per_s: 500, protected_share: 0.5 });
    expect(measures.log_bytes_per_s).toBe(2_000_000);
    expect(pauses.map(({ still_ms }) => still_ms)).toEqual([3]);
    expect(output_waits_ms).toEqual([30]);
  });

  it("are steps per second of the guest on the target until its protection ends", () => {
    const events = [step(50, 10, "source"), step(1_000, 20), step(1_400, 420), step(1_500, 520)];
    const end = (kind: "handoff" | "none"): TimelineEvent[] =>
      kind === "none" ? [] : [at(1_450, "target", { kind: "handoff", generation: 1, n: 3 })];
    expect(measure(makeRecord(), [...events, ...end("none")]).measures.steps_per_s).toBe(1_000);
    expect(measure(makeRecord(), [...events, ...end("handoff"), step(1_460, 9_000)]).measures.steps_per_s).toBe(1_000);
    expect(measure(makeRecord(), [step(1, 1), step(60, 60)]).measures).not.toHaveProperty("steps_per_s");
  });

  it("is how long output was held back, where it was held back: not before switchover, nor after handoff", () => {
    const released = (waited_ms: number, at_ms = 1, lane: Lane = "target"): TimelineEvent =>
      at(at_ms, lane, { kind: "gate.released", generation: 1, n: 1, bytes: 1, waited_ms });
    const handoff = at(8, "target", { kind: "handoff", generation: 1, n: 3 });
    const unprotected = [released(0.1, 0, "source"), released(0.2, 9)];
    const measured = measure(makeRecord(), [released(10), released(30), handoff, ...unprotected]);
    expect(measured.measures).toMatchObject({ output_p50_ms: 20, output_p99_ms: 29.8 });
    expect(measured.output_waits_ms).toEqual([10, 30]);
  });
});
