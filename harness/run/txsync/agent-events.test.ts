import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { HostRole } from "../../base/timeline.ts";
import { HOST_ROLES } from "../../base/timeline.ts";
import { agentEvent } from "./agent-events.ts";

const may = (role: HostRole, said: unknown): boolean => "event" in agentEvent(role, said);

describe("what an agent may say", () => {
  it("is how it is, what it hears and how it votes, whoever it is", () => {
    for (const role of HOST_ROLES) {
      expect(may(role, { kind: "run.note", text: "hello" })).toBe(true);
      expect(may(role, { kind: "vote.promised", generation: 2, to: "source" })).toBe(true);
      expect(may(role, { kind: "violation", why: "record 3 lacks a page" })).toBe(true);
      expect(may(role, { kind: "agent.vitals", control_late_p99_ms: 1, control_late_max_ms: 2, rss_mib: 80 })).toBe(
        true,
      );
    }
  });

  it("is what belongs to its part, and not what belongs to another's", () => {
    const stored = { kind: "tx.stored", generation: 1, n: 2, bytes: 3 };
    const committed = { kind: "tx.committed", generation: 1, n: 2, latency_ms: 3 };
    expect(HOST_ROLES.filter((role) => may(role, stored))).toEqual(["escrow"]);
    expect(HOST_ROLES.filter((role) => may(role, committed))).toEqual(["source", "target"]);
    const step = (name: string) => HOST_ROLES.filter((role) => may(role, { kind: "migration.step", step: name }));
    expect([step("switchover"), step("target-running"), step("completed"), step("setup")]).toEqual([
      ["source"],
      ["target"],
      [],
      [],
    ]);
  });

  it("is never what the harness says", () => {
    const harness = [
      { kind: "fault.injected", fault: "kill-host", id: "fault-0", what: "" },
      { kind: "fault.healed", fault: "kill-host", id: "fault-0" },
      { kind: "run.settled", how: "well", owner: "target" },
      { kind: "run.finished", verdict: "intact", as_expected: true },
      { kind: "check.result", check: "memory-model", verdict: true, summary: "" },
      { kind: "client.op", op: 1, name: "append", phase: "acknowledged", host: "target" },
      { kind: "guest.progress", host: "target", cpu: 0, step: 9 },
      { kind: "host.gone", how: "killed" },
      { kind: "log", stream: "qemu", line: "" },
    ];
    for (const role of HOST_ROLES) expect(harness.filter((said) => may(role, said))).toEqual([]);
    expect(agentEvent("source", harness[0])).toMatchObject({
      refused: expect.stringContaining('the agent on source may not say "fault.injected"'),
    });
  });

  it("has its fields, of their kinds, and no others; a newer agent's further ones are left out", () => {
    const taken = { kind: "tx.taken", generation: 1, n: 2, pages: 3, bytes: 4, stop_ms: 1, device_ms: 1, find_ms: 1 };
    expect(may("target", taken)).toBe(false);
    expect(agentEvent("target", { ...taken, copy_ms: 1, pause_ms: 5, still_ms: 4, later: 7, at_ms: 0 })).toEqual({
      event: { ...taken, copy_ms: 1, pause_ms: 5, still_ms: 4 },
    });
    expect(may("target", { ...taken, copy_ms: "1", pause_ms: 5 })).toBe(false);
  });

  it("is judged without a throw, whatever was said", () => {
    fc.assert(fc.property(fc.constantFrom(...HOST_ROLES), fc.jsonValue(), (role, said) => void agentEvent(role, said)));
  });
});
