import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { TimelineEvent } from "../base/timeline.ts";
import type { LedgerEntry } from "../guests/integrity/ledger-area.ts";
import { checkLedgerHistory } from "../guests/integrity/ledger-history.ts";
import { runCheck } from "./check.ts";
import { instancesOf } from "./instances.ts";
import { historyOf } from "./ledger.ts";
import { ledgerBack, neverBack, stepsBack } from "./never-back.ts";
import { appended, at, entries, makeCase, qemu, vcpus, WELL_EVENTS } from "./testing/make-case.ts";

const entryOf = (op: number, index: number): LedgerEntry => ({ index, value: op * 10, client: 1, client_seq: op });
const told = (at_ms: number, host: "source" | "target", step: number, outside = true): TimelineEvent =>
  at(at_ms, host, { kind: "guest.progress", host, cpu: 0, step, ...(outside ? { outside } : {}) });

describe("the history that the timeline tells", () => {
  it("knows what was acknowledged, refused, unknown, and never answered", () => {
    const op = (n: number) => ({ kind: "client.op", op: n, host: "source" }) as const;
    const append = (n: number) => ({ ...op(n), name: "append", value: n * 10 }) as const;
    const read = (n: number) => ({ ...op(n), name: "read", index: 0 }) as const;
    const history = historyOf(
      [
        ...appended(1, 0, 10),
        at(20, "client", { ...append(2), phase: "invoked" }),
        at(21, "client", { ...append(2), phase: "unknown", error: "late" }),
        at(30, "client", { ...append(3), phase: "invoked" }),
        at(31, "client", { ...append(3), phase: "failed", error: "full" }),
        at(40, "client", { ...read(4), phase: "invoked" }),
        at(41, "client", { ...read(4), phase: "acknowledged", value: 10 }),
        at(50, "client", { ...read(5), phase: "invoked" }),
        at(51, "client", { ...read(5), phase: "acknowledged" }),
        at(60, "client", { ...append(6), phase: "invoked" }),
      ],
      1,
    );
    expect(history.map(({ kind, outcome }) => `${kind} ${outcome}`)).toEqual([
      "append acknowledged",
      "append unknown",
      "append refused",
      "read acknowledged",
      "read acknowledged",
      "append unknown",
    ]);
    expect(history[3]).toMatchObject({ found: 10, index: 0, invoked_at: 40, ended_at: 41 });
    expect(history[4]).toMatchObject({ found: "absent" });
  });
});

describe("a ledger that the world had seen longer", () => {
  const three = [...appended(1, 0, 100), ...appended(2, 1, 200), ...appended(3, 2, 300)];
  const history = historyOf(three, 1);

  it("did not go back where it is what it was, or longer", () => {
    expect(
      ledgerBack(
        history,
        [1, 2, 3].map((op, index) => entryOf(op, index)),
      ),
    ).toBeUndefined();
    expect(ledgerBack(history, undefined)).toBeUndefined();
  });

  it("went back where it ends shorter, and what is gone is named", () => {
    expect(ledgerBack(history, [entryOf(1, 0)])).toMatchObject({
      seen: 3,
      back_to: 1,
      lost_count: 2,
      lost: [expect.stringContaining("append 1/2"), expect.stringContaining("append 1/3")],
    });
  });

  it("went back where a place was given a second time, though it is as long as before at the end", () => {
    const again = historyOf([...three, ...appended(4, 1, 400), ...appended(5, 2, 500)], 1);
    const end = [entryOf(1, 0), entryOf(4, 1), entryOf(5, 2)];
    expect(ledgerBack(again, end)).toMatchObject({ seen: 3, back_to: 1, lost_count: 2 });
  });

  it("is damaged and no older where an entry in the middle is wrong", () => {
    expect(ledgerBack(history, [entryOf(1, 0), entryOf(9, 1), entryOf(3, 2)])).toBeUndefined();
  });

  it("is found back exactly where the tail of what was acknowledged is cut off, and the ledger's own check agrees", () => {
    const cut = fc.tuple(fc.integer({ min: 1, max: 30 }), fc.nat(30), fc.nat(10));
    fc.assert(
      fc.property(cut, ([appends, cut_at, after]) => {
        const kept = Math.min(cut_at, appends);
        const before = Array.from({ length: appends }, (_, n) => appended(n + 1, n, n * 10)).flat();
        const later = Array.from({ length: after }, (_, n) => appended(100 + n, kept + n, 1_000 + n * 10)).flat();
        const operations = historyOf([...before, ...later], 1);
        const end = [
          ...Array.from({ length: kept }, (_, n) => entryOf(n + 1, n)),
          ...Array.from({ length: after }, (_, n) => entryOf(100 + n, kept + n)),
        ];
        const back = ledgerBack(operations, end);
        expect(back?.lost_count ?? 0).toBe(appends - kept);
        expect(back === undefined).toBe(kept === appends);
        expect(checkLedgerHistory(operations, end).verdict).toBe(kept === appends);
      }),
    );
  });
});

describe("steps that the guest told the world", () => {
  const BEGIN = [qemu(10, "source", 1), qemu(20, "target", 2, "-incoming", "defer")];
  const back = (...events: TimelineEvent[]) => stepsBack([...BEGIN, ...events], instancesOf([...BEGIN, ...events]));
  const over = [vcpus(1_000, "source", 1, "STOP"), vcpus(1_010, "target", 2, "RESUME")];

  it("went back where the source runs again behind what the target had told", () => {
    const found = back(
      told(900, "source", 90),
      ...over,
      told(2_000, "target", 190),
      vcpus(3_000, "source", 1, "RESUME"),
      told(3_500, "source", 130),
    );
    expect(found).toMatchObject({ seen: 190, back_to: 130, lost_count: 60, lost: ["steps 131 to 190"] });
  });

  it("did not where a line came late, where nobody outside was told, or where it was reset", () => {
    expect(
      back(told(900, "source", 90), ...over, told(1_020, "source", 95), told(1_030, "target", 94)),
    ).toBeUndefined();
    expect(
      back(...over, told(2_000, "target", 190, false), vcpus(3_000, "source", 1, "RESUME"), told(3_500, "source", 130)),
    ).toBeUndefined();
    const reset = at(2_500, "target", { kind: "qmp.event", event: "RESET", data: {}, pid: 2 });
    expect(back(...over, told(2_000, "target", 190), reset, told(3_000, "target", 1))).toBeUndefined();
  });

  it("never did where one history goes on from host to host", () => {
    const parts = fc.array(
      fc.tuple(fc.constantFrom("source" as const, "target" as const), fc.integer({ min: 1, max: 5 })),
      {
        minLength: 1,
        maxLength: 8,
      },
    );
    fc.assert(
      fc.property(parts, (of) => {
        const events: TimelineEvent[] = [qemu(0, "source", 1, "-S"), qemu(0, "target", 2, "-S")];
        const now_ms = (): number => 100 + events.length * 5;
        for (const [host, lines] of of) {
          const pid = host === "source" ? 1 : 2;
          events.push(vcpus(now_ms(), host, pid, "RESUME"));
          for (let line = 0; line < lines; line++) events.push(told(now_ms(), host, events.length * 3));
          events.push(vcpus(now_ms(), host, pid, "STOP"));
        }
        expect(stepsBack(events, instancesOf(events))).toBeUndefined();
      }),
    );
  });
});

describe("never-back", () => {
  it("is a verdict of its own, named with what was lost", () => {
    const judged = runCheck(neverBack, makeCase({ findings: { ledger: entries(1) } }));
    expect(judged?.verdict).toBe(false);
    expect(judged?.summary).toMatch(
      /^rolled back: the world had seen the ledger's length at 3 .* went back to 1 .*; lost: 2/,
    );
    expect(neverBack.false_means).toBe("rollback");
  });

  it("holds where all that was seen is there, and is unknown where the end or everything is not known", () => {
    expect(runCheck(neverBack, makeCase())?.verdict).toBe(true);
    const failed = { state: "failed", why: "the shell is gone" } as const;
    expect(runCheck(neverBack, makeCase({ findings: { ledger: failed } }))?.verdict).toBe("unknown");
    const nobody = WELL_EVENTS.filter(({ kind }) => kind !== "client.op");
    expect(runCheck(neverBack, makeCase({ events: nobody, findings: { ledger: entries() } }))?.verdict).toBe("unknown");
    const guest = { kind: "linux", can: [] };
    // A guest that has no such counter, or tells nobody: there is nothing to judge.
    expect(runCheck(neverBack, makeCase({ evidence: { guest } }))).toBeUndefined();
    const events = [...WELL_EVENTS, told(3_500, "target", 7)];
    expect(runCheck(neverBack, makeCase({ evidence: { guest }, events }))?.verdict).toBe(true);
  });
});
