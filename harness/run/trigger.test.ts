import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { ProtocolStep, TimelineEvent, TimelineEventBody } from "../base/timeline.ts";
import { faultId, fires, momentBefore, triggerText } from "./trigger.ts";

const STEPS: readonly ProtocolStep[] = [
  "setup",
  "precopy",
  "switchover",
  "target-running",
  "postcopy-paused",
  "recovering",
  "completing",
  "completed",
  "failed",
];
const step = fc.constantFrom(...STEPS);
const at = (body: TimelineEventBody): TimelineEvent => ({ at_ms: 1, lane: "run", ...body });
const progress = (pages_arrived: number, pages_total: number, pages_requested = 0): TimelineEvent =>
  at({
    kind: "migration.progress",
    transferred_bytes: 0,
    remaining_bytes: 0,
    total_bytes: 0,
    pages_arrived,
    pages_total,
    pages_requested,
  });

describe("fires", () => {
  it("at its own protocol step and at no other", () => {
    fc.assert(
      fc.property(step, step, (wanted, came) => {
        expect(fires({ on: "step", step: wanted }, at({ kind: "migration.step", step: came }))).toBe(wanted === came);
      }),
    );
  });

  it("once so many percent of the pages have arrived", () => {
    fc.assert(
      fc.property(fc.nat(100), fc.nat(100_000), fc.integer({ min: 1, max: 100_000 }), (percent, arrived, total) => {
        expect(fires({ on: "pages", percent }, progress(arrived, total))).toBe(arrived / total >= percent / 100);
      }),
    );
  });

  it("not on pages while nobody knows how many there are", () => {
    expect(fires({ on: "pages", percent: 0 }, progress(0, 0))).toBe(false);
  });

  it("once so many pages have been requested", () => {
    fc.assert(
      fc.property(fc.nat(1000), fc.nat(1000), (count, requested) => {
        expect(fires({ on: "requests", count }, progress(0, 10, requested))).toBe(requested >= count);
      }),
    );
  });

  it("after the fault of its index was injected, not after one that failed or was healed", () => {
    fc.assert(
      fc.property(fc.nat(20), fc.nat(20), (wanted, came) => {
        const [trigger, id] = [{ on: "fault", index: wanted } as const, faultId(came)];
        expect(fires(trigger, at({ kind: "fault.injected", fault: "kill-host", id, what: "" }))).toBe(wanted === came);
        expect(fires(trigger, at({ kind: "fault.healed", fault: "kill-host", id }))).toBe(false);
        expect(fires(trigger, at({ kind: "fault.failed", fault: "kill-host", id, error: "" }))).toBe(false);
      }),
    );
  });

  it("on no other kind of event", () => {
    const others = [
      at({ kind: "run.phase", phase: "migrate" }),
      at({ kind: "run.note", text: "completed" }),
      at({ kind: "migration.status", side: "source", status: "completed" }),
      at({ kind: "guest.progress", host: "source", cpu: 0, step: 100 }),
    ];
    for (const event of others) {
      expect(STEPS.some((wanted) => fires({ on: "step", step: wanted }, event))).toBe(false);
      expect(fires({ on: "pages", percent: 0 }, event)).toBe(false);
      expect(fires({ on: "requests", count: 0 }, event)).toBe(false);
      expect(fires({ on: "fault", index: 0 }, event)).toBe(false);
    }
  });

  it("once so many bytes have been transferred, and once a transaction of that number or a later one is committed", () => {
    fc.assert(
      fc.property(fc.nat(1000), fc.nat(1000), (wanted, came) => {
        const moved = { ...progress(0, 10), transferred_bytes: came } as TimelineEvent;
        const committed = at({ kind: "tx.committed", generation: 3, n: came, latency_ms: 1 });
        expect(fires({ on: "bytes", count: wanted }, moved)).toBe(came >= wanted);
        expect(fires({ on: "transactions", count: wanted }, committed)).toBe(came >= wanted);
      }),
    );
  });

  it("says in words when it fires", () => {
    expect(triggerText({ on: "step", step: "vote-promised", by: "escrow" })).toBe("vote-promised of escrow");
    expect(triggerText({ on: "transactions", count: 3, after_ms: 5 })).toBe("transaction 3 committed + 5 ms");
    expect(triggerText({ on: "step", step: "switchover" })).toBe("switchover");
    expect(triggerText({ on: "pages", percent: 30, after_ms: 5 })).toBe("30 % of pages + 5 ms");
    expect(triggerText({ on: "requests", count: 3 })).toBe("3 requested pages");
    expect(triggerText({ on: "fault", index: 0, after_ms: 1000 })).toBe("fault 0 + 1000 ms");
  });
});

describe("what a trigger's moment lies before", () => {
  it("is the end for counts of the migration, and for the steps that come before it", () => {
    expect(momentBefore({ on: "pages", percent: 30 })).toBe("end");
    expect(momentBefore({ on: "requests", count: 5 })).toBe("end");
    expect(momentBefore({ on: "bytes", count: 5 })).toBe("end");
    expect(momentBefore({ on: "step", step: "switchover" })).toBe("end");
    expect(momentBefore({ on: "transactions", count: 5 })).toBe(5);
  });

  it("is not known where it may lead beyond the end, or has nothing to do with it", () => {
    for (const trigger of [
      { on: "pages", percent: 100 },
      { on: "pages", percent: 30, after_ms: 1 },
      { on: "step", step: "completing" },
      { on: "step", step: "completed" },
      { on: "step", step: "handoff" },
      { on: "step", step: "setup", since: 0 },
      { on: "step", step: "transaction-taken" },
      { on: "fault", index: 0 },
      { on: "healed", index: 0 },
    ] as const)
      expect(momentBefore(trigger)).toBeUndefined();
  });
});
