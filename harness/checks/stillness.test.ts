import { describe, expect, it } from "vitest";
import type { TimelineEvent } from "../base/timeline.ts";
import { timingsOf } from "./timings.ts";

type Look = Partial<Extract<TimelineEvent, { kind: "guest.progress" }>>;

const looked = (at_ms: number, step: number, look: Look = {}): TimelineEvent => ({
  at_ms,
  lane: "source",
  kind: "guest.progress",
  host: "source",
  cpu: 0,
  step,
  ...look,
});

function timings(...events: readonly TimelineEvent[]): ReturnType<typeof timingsOf> {
  const phase = (at_ms: number, name: "migrate" | "check"): TimelineEvent => ({
    at_ms,
    lane: "run",
    kind: "run.phase",
    phase: name,
  });
  return timingsOf([phase(0, "migrate"), ...events, phase(10_000, "check"), looked(20_000, 99)], true);
}

const told = (at_ms: number, event: "STOP" | "RESUME", qemu_ms: number): TimelineEvent => ({
  at_ms,
  lane: "source",
  kind: "qmp.event",
  event,
  data: {},
  qemu_ms,
});

describe("how long the guest stood still", () => {
  it("is the longest time between two looks that saw it further, where it tells no clock", () => {
    const { downtime_ms, stopped_max_ms, unseen_max_ms } = timings(
      looked(100, 1),
      looked(150, 2),
      looked(900, 2),
      looked(1000, 3),
      looked(1040, 4, { outside: true }),
      looked(1050, 5),
    );
    expect([downtime_ms, stopped_max_ms, unseen_max_ms]).toEqual([850, undefined, undefined]);
  });

  it("is not the time in which nobody looked, where the guest went on by its own clock; and that is said", () => {
    const ran = [
      looked(100, 100, { looked_ms: 100, ran_ms: 100, unseen_ms: 50 }),
      looked(3_200, 3_150, { looked_ms: 3_190, ran_ms: 3_150, unseen_ms: 3_090 }),
      // It came late: it was looked at in time.
      looked(6_000, 3_200, { looked_ms: 3_240, ran_ms: 3_200, unseen_ms: 50 }),
      // Here it stood still, and then ran for 20 ms.
      looked(6_100, 3_220, { looked_ms: 3_960, ran_ms: 3_220, unseen_ms: 50 }),
    ];
    expect(timings(...ran)).toMatchObject({ downtime_ms: 700, unseen_max_ms: 3_090, heard_late_max_ms: 2_760 });
  });

  it("is open until the first line that a restored guest tells, though that comes when the migration is over", () => {
    const line = (at_ms: number, step: number, ran_ms: number): TimelineEvent =>
      looked(at_ms, step, { outside: true, ran_ms });
    const phases = (["migrate", "check"] as const).map(
      (phase, index): TimelineEvent => ({ at_ms: index * 2_000, lane: "run", kind: "run.phase", phase }),
    );
    const [begin, end] = phases as [TimelineEvent, TimelineEvent];
    const events = [begin, line(100, 1, 1_000), line(600, 2, 1_500), end, line(2_300, 3, 2_300), line(9_000, 4, 2_400)];
    expect(timingsOf(events, true).downtime_ms).toBe(900);
  });

  it("is told of by a guest's own lines, where nobody can look at it: they come late, and say how long it ran", () => {
    const line = (at_ms: number, step: number, ran_ms: number): TimelineEvent =>
      looked(at_ms, step, { outside: true, ran_ms });
    const lines = [line(100, 10, 5_000), line(2_600, 20, 7_300), line(2_600, 30, 7_600), line(3_500, 40, 7_900)];
    expect(timings(looked(100, 10), ...lines, looked(9_000, 40)).downtime_ms).toBe(600);
  });

  it("is known exactly where QEMU stopped it, on this host or from one to the next, whatever came first", () => {
    const stops = [
      told(10, "STOP", 1_000_000),
      told(20, "RESUME", 1_000_005.5),
      told(40, "RESUME", 1_000_230),
      told(50, "STOP", 1_000_100),
      told(60, "STOP", 1_000_120),
    ];
    expect(timings(...stops).stopped_max_ms).toBe(130);
  });
});
