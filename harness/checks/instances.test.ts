import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { TimelineEvent } from "../base/timeline.ts";
import { runCheck } from "./check.ts";
import { instancesOf, OVERLAP_MS, overlapsOf } from "./instances.ts";
import { singleInstance } from "./single-instance.ts";
import { at, makeCase, moves, qemu, stands, unreadable, vcpus, WELL_EVENTS } from "./testing/make-case.ts";

const look = (at_ms: number, host: "source" | "target", step: number): TimelineEvent =>
  at(at_ms, host, { kind: "guest.progress", host, cpu: 0, step });
const exited = (at_ms: number, host: "source" | "target"): TimelineEvent =>
  at(at_ms, host, { kind: "qemu.exited", code: null, last_lines: [] });
const BEGIN = [qemu(10, "source", 1), qemu(20, "target", 2, "-incoming", "defer")];
const overlapping = (...events: TimelineEvent[]) => overlapsOf(instancesOf([...BEGIN, ...events]));

describe("when which instance ran", () => {
  it("is told by QEMU's own stamps, however late they come", () => {
    const [source, target] = instancesOf([
      ...BEGIN,
      vcpus(500, "source", 1, "STOP"),
      vcpus(600, "source", 1, "RESUME"),
      vcpus(1_000, "source", 1, "STOP", 900),
      vcpus(1_020, "target", 2, "RESUME", 900),
      look(3_000, "target", 5),
    ]);
    const ran = source?.spans.map(({ from_ms, sure_to_ms }) => [from_ms, sure_to_ms]);
    expect(ran).toEqual([
      [10, 500],
      [600, 1_000],
    ]);
    expect(target?.spans).toMatchObject([{ from_ms: 1_020 }]);
  });

  it("goes by the run's clock where a host's clock was set", () => {
    const [source] = instancesOf([
      ...BEGIN,
      at(500, "source", { kind: "qmp.event", event: "STOP", data: {}, pid: 1, qemu_ms: 1_000_000 }),
      at(700, "source", { kind: "qmp.event", event: "RESUME", data: {}, pid: 1, qemu_ms: 9_000_000 }),
    ]);
    expect(source?.spans.map(({ from_ms, to_ms }) => [from_ms, to_ms])).toEqual([
      [10, 500],
      [700, 700],
    ]);
  });

  it("does not take a QEMU that waits for one that runs, nor one that stood when it was first asked", () => {
    const status = (running: boolean) => at(40, "source", { kind: "qemu.status", pid: 1, running });
    expect(instancesOf([...BEGIN, exited(900, "target")])[1]?.spans).toEqual([]);
    expect(instancesOf([qemu(10, "source", 1, "-S"), look(30, "source", 1)])[0]?.spans).toEqual([]);
    expect(instancesOf([qemu(10, "source", 1), status(false)])[0]?.spans).toEqual([]);
    expect(instancesOf([qemu(10, "source", 1, "-S"), status(true)])[0]?.spans).toMatchObject([{ from_ms: 40 }]);
  });

  it("is sure of one that was killed only up to the last look but one that saw it go on", () => {
    const [source] = instancesOf([
      ...BEGIN,
      ...[100, 200, 300].map((at_ms) => look(at_ms, "source", at_ms)),
      look(400, "source", 300),
      at(450, "source", { kind: "guest.progress", host: "source", cpu: 0, step: 999, outside: true }),
      exited(900, "source"),
    ]);
    expect(source?.spans).toEqual([{ from_ms: 10, to_ms: 900, sure_to_ms: 200 }]);
  });
});

describe("two instances at one time", () => {
  const back = [vcpus(1_000, "source", 1, "STOP"), vcpus(1_010, "target", 2, "RESUME")];

  it("are none where one stops before the other begins", () => expect(overlapping(...back)).toEqual([]));

  it("are found where they ran together for 10 ms, and not where it was less than can be told", () => {
    const together = (ms: number) =>
      overlapping(...back, vcpus(3_000, "source", 1, "RESUME"), vcpus(3_000 + ms, "target", 2, "STOP"));
    expect(together(OVERLAP_MS)).toMatchObject([
      { hosts: ["source", "target"], from_ms: 3_000, longest_ms: 10, times: 1 },
    ]);
    expect(together(OVERLAP_MS - 1)).toEqual([]);
  });

  it("are found where the one that was killed had been seen to go on beside the other (CASES 1)", () => {
    const looks = [3_050, 3_100, 3_150].map((at_ms) => look(at_ms, "target", at_ms));
    const events = [...back, vcpus(3_000, "source", 1, "RESUME"), ...looks, exited(3_300, "target")];
    expect(overlapping(...events)).toMatchObject([{ from_ms: 3_000, to_ms: 3_100 }]);
    // Nobody saw it go on beside the other: it may have been dead since.
    expect(
      overlapping(...back, look(2_900, "target", 1), vcpus(3_000, "source", 1, "RESUME"), exited(3_300, "target")),
    ).toEqual([]);
  });

  it("overlap exactly where some instant lies well inside a span of each", () => {
    const spans = fc
      .array(fc.tuple(fc.integer({ min: 0, max: 400 }), fc.integer({ min: 1, max: 60 })), { maxLength: 6 })
      .map((parts) => {
        let from_ms = 100;
        return parts.map(([gap, length]) => {
          const span = { from_ms: from_ms + gap + 1, to_ms: from_ms + gap + 1 + length };
          from_ms = span.to_ms;
          return span;
        });
      });
    fc.assert(
      fc.property(spans, spans, (left, right) => {
        const ran = (host: "source" | "target", pid: number, of: typeof left) =>
          of.flatMap(({ from_ms, to_ms }) => [vcpus(from_ms, host, pid, "RESUME"), vcpus(to_ms, host, pid, "STOP")]);
        const events = [...ran("source", 1, left), ...ran("target", 2, right)].sort((a, b) => a.at_ms - b.at_ms);
        const begin = [qemu(0, "source", 1, "-S"), qemu(0, "target", 2, "-S")];
        const shared = left.flatMap((a) =>
          right
            .map((b) => Math.min(a.to_ms, b.to_ms) - Math.max(a.from_ms, b.from_ms))
            .filter((ms) => ms >= OVERLAP_MS),
        );
        const found = overlapsOf(instancesOf([...begin, ...events]));
        expect(found.length).toBe(shared.length === 0 ? 0 : 1);
        if (shared.length > 0) {
          expect(found[0]?.times).toBe(shared.length);
          expect(found[0]?.longest_ms).toBeCloseTo(Math.max(...shared), 6);
        }
      }),
    );
  });
});

describe("single-instance over the whole run", () => {
  const events = [
    ...WELL_EVENTS.slice(0, -1),
    vcpus(2_000, "source", 1, "RESUME"),
    vcpus(2_015, "target", 2, "STOP"),
    ...WELL_EVENTS.slice(-1),
  ];
  const seen = {
    progress: [
      { ...moves, host: "source" },
      { ...stands, host: "target" },
    ],
  } as const;

  it("is false for 15 ms in the middle, though at the end only one moves", () => {
    expect(runCheck(singleInstance, makeCase({ evidence: seen, events }))).toMatchObject({
      verdict: false,
      summary: expect.stringContaining("for 15 ms at the longest, first 2000 ms into the run"),
    });
    expect(singleInstance.false_means).toBe("split-brain");
  });

  it("leaves it to the edge where what leaves the VM goes through a gate, and tells it", () => {
    expect(runCheck(singleInstance, makeCase({ evidence: { ...seen, gated: true }, events }))).toMatchObject({
      verdict: true,
      summary: expect.stringContaining("one of them behind a gate"),
    });
  });

  it("is false in the middle whatever could not be seen at the end", () => {
    expect(runCheck(singleInstance, makeCase({ evidence: { progress: [unreadable] }, events }))?.verdict).toBe(false);
  });
});
