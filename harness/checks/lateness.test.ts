import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { TimelineEvent, TimelineEventBody } from "../base/timeline.ts";
import type { FaultNamed } from "./check.ts";
import { cameTooLate } from "./lateness.ts";
import { ABSENT, at, makeCase, qemu, stands } from "./testing/make-case.ts";
import { tooLate } from "./too-late.ts";
import { type Judged, judge } from "./verdict.ts";

const PID = 36;
const KILLED: FaultNamed = { id: "fault-0", name: "fault 0 (kill-host, target)", before: "end", stops: "target" };
const OTHER: FaultNamed = { id: "fault-1", name: "fault 1 (kill-process, agent on escrow)", before: "end" };

type Named =
  | "struck"
  | "other struck"
  | "healed"
  | "handoff"
  | "every page"
  | "every page of another"
  | "protected"
  | "exited"
  | "gone";

/** A migration from its beginning, in the order in which it was heard of; none of it settled yet. */
function migration(recovery: "stock" | "txsync", fault: string, ...named: readonly Named[]): readonly TimelineEvent[] {
  const injected = (id: string): TimelineEventBody => ({ kind: "fault.injected", fault, id, what: "" });
  const completed = (pid: number): TimelineEventBody => ({
    kind: "qmp.event",
    event: "MIGRATION",
    data: { status: "completed" },
    pid,
  });
  const make = (name: Named): [TimelineEvent["lane"], TimelineEventBody] => {
    switch (name) {
      case "struck":
        return ["fault", injected(KILLED.id)];
      case "other struck":
        return ["fault", injected(OTHER.id)];
      case "healed":
        return ["fault", { kind: "fault.healed", fault, id: KILLED.id }];
      case "handoff":
        return ["target", { kind: "handoff", generation: 2, n: 31 }];
      case "every page":
        return ["target", completed(PID)];
      case "every page of another":
        return ["target", completed(PID + 1)];
      case "protected":
        return ["target", { kind: "protection", state: "on", why: "" }];
      case "exited":
        return ["target", { kind: "qemu.exited", code: null, last_lines: [] }];
      case "gone":
        return ["target", { kind: "host.gone", how: "killed" }];
    }
  };
  return [
    at(0, "run", { kind: "run.started", scenario: "s", recovery, seed: 7 }),
    at(5, "run", { kind: "run.phase", phase: "boot" }),
    qemu(10, "source", PID),
    qemu(20, "target", PID, "-incoming", "defer"),
    at(30, "run", { kind: "run.phase", phase: "migrate" }),
    ...named.map((name, index) => at(100 + index, ...make(name))),
  ];
}

const NOTHING_SEEN = { memory: ABSENT, guest: ABSENT, ledger: ABSENT, again: ABSENT };

/** A VM that is gone after all that. */
function lostAfter(events: readonly TimelineEvent[], faults: readonly FaultNamed[] = [KILLED]): Judged {
  const settled = at(9_000, "run", { kind: "run.settled", owner: "none", how: "it is gone" });
  const seen = makeCase({
    faults,
    events: [...events, settled],
    evidence: { owner: "none", settled: "it is gone", progress: [{ ...stands, watched_ms: 0 }] },
    findings: NOTHING_SEEN,
  });
  return judge(seen.scenario, seen.events, seen.evidence);
}

const txsync = (...named: readonly Named[]) => migration("txsync", "kill-host", ...named);

describe("a fault that came when the migration was over", () => {
  it("does not make a VM lost that nobody protects any more, wherever its end was heard of", () => {
    for (const events of [
      txsync("handoff", "every page", "struck", "gone"),
      // The dead told it before: it lay in the harness's buffers.
      txsync("struck", "gone", "handoff", "every page"),
      txsync("every page", "struck", "handoff", "gone"),
      migration("stock", "kill-host", "every page", "struck"),
      migration("stock", "kill-process", "struck", "exited", "every page"),
      migration("txsync", "kill-process", "struck", "handoff", "every page", "exited"),
      migration("txsync", "freeze-process", "handoff", "every page", "struck"),
      migration("txsync", "freeze-host", "struck", "handoff", "every page"),
    ])
      expect(lostAfter(events)).toMatchObject({ verdict: "unknown", why: expect.stringContaining("too late") });
  });

  it("does, where it came at its moment: the end is not there by the word of both, or stood after it", () => {
    for (const events of [
      txsync("struck", "gone"),
      txsync("handoff", "struck", "gone"),
      txsync("every page", "struck", "gone"),
      txsync("handoff", "every page of another", "struck", "gone"),
      migration("stock", "kill-host", "struck"),
      // An agent that hands off a QEMU that is dead already.
      migration("txsync", "kill-process", "every page", "struck", "exited", "handoff"),
      migration("txsync", "kill-process", "every page", "struck", "handoff"),
      migration("txsync", "freeze-process", "every page", "struck", "handoff"),
      // One that was frozen and thawed goes on, and comes to its end by itself.
      migration("txsync", "freeze-host", "struck", "healed", "handoff", "every page"),
      // Something else had ended it.
      txsync("handoff", "every page", "exited", "struck", "gone"),
    ])
      expect(lostAfter(events).verdict).toBe("lost");
  });

  it("does, where the VM is protected beyond the end", () => {
    expect(lostAfter(txsync("handoff", "every page", "protected", "struck", "gone")).verdict).toBe("lost");
    expect(lostAfter(txsync("protected", "handoff", "every page", "struck", "gone")).verdict).toBe("unknown");
  });

  it("does, where its moment may lie anywhere, or it takes no VM away", () => {
    const over = txsync("handoff", "every page", "struck", "gone");
    const { before: _, ...any } = KILLED;
    expect(lostAfter(over, [any]).verdict).toBe("lost");
    const { stops: __, ...elsewhere } = KILLED;
    expect(lostAfter(over, [elsewhere])).toMatchObject({
      verdict: "lost",
      why: expect.stringContaining("struck when the migration had ended"),
    });
  });

  it("does, where another fault struck at its moment", () => {
    const both = txsync("other struck", "handoff", "every page", "struck", "gone");
    expect(lostAfter(both, [KILLED, OTHER]).verdict).toBe("lost");
    const neither = txsync("handoff", "every page", "other struck", "struck", "gone");
    expect(lostAfter(neither, [KILLED, OTHER]).verdict).toBe("unknown");
  });

  it("is one of a transaction only where the handoff's is later", () => {
    const events = txsync("handoff", "every page", "struck", "gone");
    expect(cameTooLate({ ...KILLED, before: 30 }, events)).toBe(true);
    expect(cameTooLate({ ...KILLED, before: 31 }, events)).toBe(false);
  });

  it("proves nothing where the VM lives", () => {
    const { stops: _, ...elsewhere } = KILLED;
    const { scenario, events, evidence } = makeCase({
      faults: [elsewhere],
      events: [
        ...txsync("handoff", "every page", "struck"),
        at(9_000, "run", { kind: "run.settled", how: "the migration completed", owner: "target" }),
      ],
      findings: NOTHING_SEEN,
    });
    expect(judge(scenario, events, evidence)).toMatchObject({
      verdict: "unknown",
      why: expect.stringContaining("struck when the migration had ended"),
    });
  });
});

const NAMED: readonly Named[] = [
  "struck",
  "other struck",
  "healed",
  "handoff",
  "every page",
  "every page of another",
  "protected",
  "exited",
  "gone",
];
const some = fc.shuffledSubarray([...NAMED]);
const fault = fc.constantFrom("kill-host", "kill-process", "freeze-host", "freeze-process");

describe("whatever is heard, in whatever order", () => {
  it("a loss is nobody's only where the target's own QEMU and, under txsync, a handoff tell of the end", () => {
    fc.assert(
      fc.property(some, fault, fc.constantFrom("stock", "txsync"), (named, name, recovery) => {
        const events = migration(recovery, name, ...named);
        const late = cameTooLate(KILLED, events);
        if (!late) return;
        expect(named).toContain("struck");
        expect(named).toContain("every page");
        const [struck, exited] = [named.indexOf("struck"), named.indexOf("exited")];
        expect(exited < 0 || exited > struck).toBe(true);
        if (recovery === "stock") return;
        expect(named).toContain("handoff");
        // Where somebody was alive who could have told it afterwards, it was told before.
        if (name === "freeze-process") expect(named.indexOf("handoff")).toBeLessThan(struck);
        if (name === "kill-process") expect(named.indexOf("handoff")).toBeLessThan(Math.max(struck, exited));
      }),
      { numRuns: 1000 },
    );
  });

  it("what is put behind the fault never makes one late that left somebody alive to tell of it", () => {
    fc.assert(
      fc.property(some, some, (first, then) => {
        const before: Named[] = [...first.filter((one) => one !== "struck"), "struck"];
        const after = then.filter((one) => !before.includes(one));
        const of = (named: readonly Named[]) => cameTooLate(KILLED, migration("txsync", "freeze-process", ...named));
        expect(of([...before, ...after])).toBe(of(before));
      }),
    );
  });

  it("outweighs nothing where any fault struck at its moment", () => {
    fc.assert(
      fc.property(some, fault, (named, name) => {
        const events = migration("txsync", name, ...named);
        const faults = [KILLED, OTHER];
        const on_time = faults.some(
          (one) =>
            events.some((event) => event.kind === "fault.injected" && event.id === one.id) && !cameTooLate(one, events),
        );
        const seen = makeCase({ faults, events });
        if (on_time) expect(tooLate.applies(seen)).toBe(false);
      }),
    );
  });
});
