import { describe, expect, it } from "vitest";
import type { Lane, TimelineEvent, TimelineEventBody } from "../base/timeline.ts";
import { recoveryTimings } from "./recovery-timings.ts";

function at(at_ms: number, lane: Lane, body: TimelineEventBody): TimelineEvent {
  return { at_ms, lane, ...body };
}

function step(at_ms: number, step: number, host: "source" | "target" = "target"): TimelineEvent {
  return at(at_ms, host, { kind: "guest.progress", host, cpu: 0, step });
}

function taken(at_ms: number, n: number, pause_ms: number): TimelineEvent {
  const times = { stop_ms: 1, device_ms: 1, find_ms: 1, copy_ms: 1, pause_ms };
  return at(at_ms, "target", { kind: "tx.taken", generation: 1, n, pages: 1, bytes: 1, ...times });
}

const fault = at(300, "fault", { kind: "fault.injected", fault: "kill-host", id: "fault-0", what: "target" });

describe("timings of a recovery", () => {
  it("are none where nothing broke and nothing was protected", () => {
    expect(recoveryTimings([step(1, 1), step(2, 2)])).toEqual({});
  });

  it("count from the fault to the vote, from there to the VM that runs, and the steps that were rolled back", () => {
    const events = [
      step(0, 0),
      step(100, 100),
      taken(150, 1, 10),
      at(160, "target", { kind: "tx.committed", generation: 1, n: 1, latency_ms: 10 }),
      step(200, 200),
      taken(250, 2, 30),
      fault,
      step(310, 260),
      at(800, "escrow", { kind: "lease.lost", peer: "target", silent_ms: 500 }),
      at(810, "source", { kind: "vote.asked", generation: 2 }),
      at(830, "source", { kind: "restore.started", generation: 2, n: 1 }),
      step(900, 150, "source"),
      at(1_000, "source", { kind: "restore.running", generation: 3 }),
      step(1_100, 250, "source"),
    ];
    expect(recoveryTimings(events)).toEqual({
      detect_ms: 510,
      recover_ms: 190,
      lost_steps: 110,
      transactions: 1,
      pause_p50_ms: 20,
      pause_p90_ms: 28,
      pause_p99_ms: 29.8,
      pause_max_ms: 30,
      stop_p50_ms: 1,
      device_p50_ms: 1,
      find_copy_p50_ms: 2,
    });
  });

  it("have no restore where none was needed", () => {
    const events = [fault, at(700, "target", { kind: "takeover", server: "escrow", pages_left: 9 })];
    expect(recoveryTimings(events)).toEqual({ detect_ms: 400 });
  });

  it("say of no detection where nobody had to act: the vote of the handoff is none", () => {
    const asks = {
      kind: "vote.message",
      message: "ask",
      pre: true,
      generation: 2,
      mode: "final",
      to: "escrow",
    } as const;
    const handoff = [at(6_000, "target", { kind: "vote.asked", generation: 2 }), at(6_001, "target", asks)];
    expect(recoveryTimings([fault, ...handoff])).toEqual({});
    const lost = at(800, "target", { kind: "lease.lost", peer: "escrow", silent_ms: 500 });
    expect(recoveryTimings([fault, lost, ...handoff])).toEqual({ detect_ms: 500 });
  });

  it("lose nothing where the guest was not seen to go beyond the transaction", () => {
    const events = [
      step(100, 100),
      taken(150, 1, 1),
      fault,
      at(400, "source", { kind: "vote.asked", generation: 2 }),
      at(410, "source", { kind: "restore.started", generation: 2, n: 1 }),
      at(500, "source", { kind: "restore.running", generation: 3 }),
    ];
    expect(recoveryTimings(events).lost_steps).toBe(0);
  });

  it("are of the fault that was in force, not of those that were healed before, nor of a link that was only slow", () => {
    const injected = (at_ms: number, index: number, name: string): TimelineEvent =>
      at(at_ms, "fault", { kind: "fault.injected", fault: name, id: `fault-${index}`, what: "" });
    const healed = (at_ms: number, index: number): TimelineEvent =>
      at(at_ms, "fault", { kind: "fault.healed", fault: "cut-silent", id: `fault-${index}` });
    const events = [
      injected(100, 0, "bandwidth"),
      injected(1_000, 1, "cut-silent"),
      at(1_500, "target", { kind: "lease.lost", peer: "escrow", silent_ms: 500 }),
      at(1_510, "target", { kind: "vote.asked", generation: 2 }),
      healed(2_000, 1),
      injected(4_000, 2, "kill-host"),
      at(4_400, "escrow", { kind: "vote.asked", generation: 3 }),
      at(4_500, "source", { kind: "vote.asked", generation: 4 }),
      at(4_520, "source", { kind: "restore.started", generation: 4, n: 9 }),
      injected(4_530, 3, "kill-process"),
      at(4_600, "source", { kind: "restore.running", generation: 5 }),
    ];
    expect(recoveryTimings(events)).toMatchObject({ detect_ms: 500, recover_ms: 100 });
  });

  it("take pauses from QEMU's own stamps where there are some, and tell the parts", () => {
    const parts = { stop_ms: 0.5, device_ms: 1.5, find_ms: 0.5, copy_ms: 1, pause_ms: 9, still_ms: 4, cont_ms: 0.2 };
    const events = [1, 2].map((n) =>
      at(n, "target", { kind: "tx.taken", generation: 1, n, pages: 1, bytes: 1, ...parts }),
    );
    expect(recoveryTimings(events)).toEqual({
      pause_p50_ms: 4,
      pause_p90_ms: 4,
      pause_p99_ms: 4,
      pause_max_ms: 4,
      stop_p50_ms: 0.5,
      device_p50_ms: 1.5,
      find_copy_p50_ms: 1.5,
      cont_p50_ms: 0.2,
    });
  });

  it("tell of the worst agent in any of its lives, until the harness itself looks at all of the memory", () => {
    const vital = (lane: Lane, p99_ms: number, max_ms: number, rss_mib: number): TimelineEvent =>
      at(1, lane, { kind: "agent.vitals", control_late_p99_ms: p99_ms, control_late_max_ms: max_ms, rss_mib });
    const events = [
      vital("source", 30, 40, 70),
      vital("source", 5, 41, 75),
      vital("target", 9, 90, 60),
      vital("target", 2, 3, 200),
      vital("escrow", 1, 2, 50),
      at(2, "run", { kind: "run.settled", how: "handed off to target", owner: "target" }),
      vital("escrow", 50, 500, 300),
    ];
    expect(recoveryTimings(events)).toEqual({
      control_late_p99_ms: 9,
      control_late_max_ms: 90,
      agent_rss_max_mib: 200,
    });
  });
});
