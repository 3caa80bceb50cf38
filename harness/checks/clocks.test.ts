import { describe, expect, it } from "vitest";
import type { HostRole, TimelineEvent } from "../base/timeline.ts";
import { clocks } from "./clocks.ts";
import { at, makeCase, qemu, vcpus } from "./testing/make-case.ts";

const WALL_MS = 1_700_000_000_000;
const line = (at_ms: number, host: HostRole, ran_ms: number): TimelineEvent =>
  at(at_ms, host, {
    kind: "guest.progress",
    host,
    cpu: 0,
    step: ran_ms,
    outside: true,
    ran_ms,
    wall_ms: WALL_MS + ran_ms,
  });
const BEGIN = [qemu(10, "source", 1), qemu(20, "target", 2, "-incoming", "defer")];
const judge = (events: readonly TimelineEvent[]) => clocks.judge(makeCase({ events: [...BEGIN, ...events] }));

const MOVED = [vcpus(1_500, "source", 1, "STOP"), vcpus(1_510, "target", 2, "RESUME")];

describe("the guest's clocks", () => {
  it("never go back, and how far the wall clock fell behind is told", () => {
    const found = judge([line(1_000, "source", 500), ...MOVED, line(3_000, "target", 2_100)]);
    expect(found).toMatchObject({ verdict: true, evidence: { lines: 2, behind_ms: 400 } });
    expect(found.summary).toMatch(/400 ms behind/);
  });

  it("go back where an earlier VM runs again", () => {
    const found = judge([line(1_000, "source", 500), ...MOVED, line(3_000, "target", 300)]);
    expect(found).toMatchObject({ verdict: false });
    expect(found.summary).toBe("the guest's clock went back by 200 ms: from 500 ms on source to 300 ms on target");
  });

  it("begin anew with a reset", () => {
    const reset = at(2_000, "target", { kind: "qmp.event", event: "RESET", data: {} });
    const events = [line(1_000, "source", 500), line(1_400, "source", 900), ...MOVED, reset, line(3_000, "target", 10)];
    expect(judge(events)).toMatchObject({ verdict: true, evidence: { lines: 2 } });
  });

  it("are nothing to judge where no guest tells the time", () => {
    const { wall_ms: _, ...without } = line(1_000, "source", 500) as never as { wall_ms: number };
    expect(clocks.applies(makeCase({ events: [without as never] }))).toBe(false);
    expect(clocks.applies(makeCase({ events: [line(1_000, "source", 500)] }))).toBe(true);
    expect(judge([line(1_000, "source", 500)])).toMatchObject({ verdict: "unknown" });
  });
});
