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
      pause_max_ms: 30,
    });
  });

  it("have no restore where none was needed", () => {
    const events = [fault, at(700, "target", { kind: "takeover", server: "escrow", pages_left: 9 })];
    expect(recoveryTimings(events)).toEqual({ detect_ms: 400 });
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
});
