import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { EVERY_SCENARIO } from "../../scenarios/index.ts";
import type { HostRole, Lane, ProtocolStep, TimelineEvent, TimelineEventBody } from "../base/timeline.ts";
import { hopelessTriggers } from "./hopeless.ts";
import type { FaultPlan, Trigger } from "./scenario.ts";
import { STEP_NAMES, stepOf } from "./steps.ts";
import { faultId } from "./trigger.ts";

const KILL = { fault: "kill-host", host: "target" } as const;
const CUT = { fault: "cut-reset", link: "source-target" } as const;

const at = (lane: Lane, body: TimelineEventBody): TimelineEvent => ({ at_ms: 1, lane, ...body });
const started = (recovery: "stock" | "txsync"): TimelineEvent =>
  at("run", { kind: "run.started", scenario: "s", recovery, seed: 1 });
const step = (name: ProtocolStep): TimelineEvent => at("migration", { kind: "migration.step", step: name });
const injected = (index: number): TimelineEvent =>
  at("fault", { kind: "fault.injected", fault: "f", id: faultId(index), what: "" });
const healed = (index: number): TimelineEvent => at("fault", { kind: "fault.healed", fault: "f", id: faultId(index) });
const failed = (index: number, error: string): TimelineEvent =>
  at("fault", { kind: "fault.failed", fault: "f", id: faultId(index), error });
const hostGone = (role: HostRole): TimelineEvent => at(role, { kind: "host.gone", how: "killed" });
const qemuGone = (role: HostRole): TimelineEvent => at(role, { kind: "qemu.exited", code: null, last_lines: [] });
const qemuUp = (role: HostRole): TimelineEvent => at(role, { kind: "qemu.started", pid: 1, version: "", argv: [] });
const running = (role: HostRole): TimelineEvent => at(role, { kind: "restore.running", generation: 2 });
const handoff = at("target", { kind: "handoff", generation: 1, n: 5 });
const txsync = started("txsync");

const AT_30: Trigger = { on: "pages", percent: 30 };
const first: FaultPlan = { fault: KILL, at: AT_30 };
/** What is said of the second fault, where the first has struck already. */
function said(trigger: Trigger, ...events: readonly TimelineEvent[]): string | undefined {
  const plans = [first, { fault: CUT, at: trigger }];
  return hopelessTriggers(plans, [txsync, step("switchover"), injected(0), ...events])[0]?.why;
}

describe("a trigger that cannot come any more", () => {
  it.each<[string, Trigger, TimelineEvent[], RegExp]>([
    ["pages of a dead host", AT_30, [hostGone("target")], /30 % of pages".*: the target's host is dead$/],
    ["requests of a dead QEMU", { on: "requests", count: 9 }, [qemuGone("target")], /the target's QEMU is dead$/],
    ["a step of a dead target", { on: "step", step: "completing" }, [hostGone("target")], /the target's host is dead$/],
    ["pages after a restore", AT_30, [running("source")], /restored on source, and this migration is over$/],
    ["requests when all came", { on: "requests", count: 9 }, [handoff], /the target has every page$/],
    ["a restore after handoff", { on: "step", step: "restore-started" }, [handoff], /nothing is restored any more$/],
    [
      "a restore without a majority",
      { on: "step", step: "restore-started" },
      [hostGone("target"), hostGone("escrow")],
      /two of the three hosts are dead/,
    ],
    ["a takeover without escrow", { on: "step", step: "takeover" }, [hostGone("escrow")], /the escrow's host is dead$/],
    ["a handoff of a dead target", { on: "step", step: "handoff" }, [hostGone("target")], /the target's host is dead$/],
    [
      "a message of a dead agent",
      { on: "step", step: "vote-promised", by: "escrow" },
      [hostGone("escrow")],
      /the escrow's host is dead$/,
    ],
    ["a transaction after handoff", { on: "transactions", count: 900 }, [handoff], /is protected no more$/],
    ["a record after handoff", { on: "step", step: "record-half-sent" }, [handoff], /is protected no more$/],
    ["bytes of a dead host", { on: "bytes", count: 9 }, [hostGone("target")], /the target's host is dead$/],
    ["a pause that txsync does not know", { on: "step", step: "postcopy-paused" }, [], /never paused$/],
  ])("%s", (_, trigger, events, why) => {
    expect(said(trigger, ...events)).toMatch(why);
    expect(said(trigger, ...events)).toMatch(/^fault 1 \(cut-reset, link source-target\) waits for "/);
  });

  it("is one that waits for a fault that did not strike", () => {
    const plans: FaultPlan[] = [first, { fault: CUT, at: { on: "fault", index: 0 } }];
    expect(hopelessTriggers(plans, [txsync, failed(0, "no such host")])).toEqual([
      {
        index: 1,
        waits: "to strike",
        why: 'fault 1 (cut-reset, link source-target) waits for "fault 0", which cannot come any more: fault 0 did not strike: no such host',
      },
    ]);
  });

  it("is not called so while it may still come", () => {
    expect(said(AT_30)).toBeUndefined();
    expect(said(AT_30, hostGone("source"))).toBeUndefined();
    expect(said({ on: "step", step: "restore-started" }, hostGone("target"))).toBeUndefined();
    expect(said({ on: "step", step: "takeover" }, hostGone("source"))).toBeUndefined();
    expect(said({ on: "step", step: "completed" }, handoff)).toBeUndefined();
    expect(said({ on: "step", step: "recovering" }, qemuGone("source"))).toBeUndefined();
  });

  describe("where protection goes on after the handoff", () => {
    const ALWAYS = { goes_on_protected: true } as const;
    const always = (trigger: Trigger, ...events: readonly TimelineEvent[]): string | undefined =>
      hopelessTriggers(
        [first, { fault: CUT, at: trigger }],
        [txsync, step("switchover"), injected(0), ...events],
        ALWAYS,
      )[0]?.why;
    const handedOver = [step("completing"), handoff, step("completed")];

    it("is none of protection, of a vote or of a restore", () => {
      for (const name of STEP_NAMES.filter((one) => ["protection", "vote", "restore"].includes(stepOf(one).part))) {
        expect([name, always({ on: "step", step: name }, ...handedOver)]).toEqual([name, undefined]);
        // The VM is restored, protected anew, and may be restored once more.
        expect([name, always({ on: "step", step: name }, ...handedOver, running("source"))]).toEqual([name, undefined]);
      }
      expect(always({ on: "transactions", count: 900 }, ...handedOver, running("source"))).toBeUndefined();
    });

    it("is a restore that a killed target still brings, told by either of two faults", () => {
      const plans: FaultPlan[] = [
        { fault: KILL, at: { on: "step", step: "handoff" } },
        {
          fault: { fault: "kill-process", host: "source", process: "agent" },
          at: { on: "step", step: "restore-made" },
        },
      ];
      const seen = [txsync, step("switchover"), handoff, injected(0), hostGone("target")];
      expect(hopelessTriggers(plans, seen, ALWAYS)).toEqual([]);
      expect(hopelessTriggers(plans, seen)[0]?.why).toMatch(/nothing is restored any more$/);
    });

    it("is still whatever belongs to the migration that is over", () => {
      expect(always(AT_30, ...handedOver)).toMatch(/the target has every page$/);
      expect(always({ on: "bytes", count: 9 }, ...handedOver)).toMatch(/the target has every page$/);
      expect(always({ on: "step", step: "recovering" }, ...handedOver)).toMatch(/the migration is at its end$/);
      expect(always({ on: "step", step: "takeover" }, ...handedOver)).toMatch(/the target has every page$/);
      expect(always({ on: "step", step: "handoff" }, running("source"))).toMatch(/this migration is over$/);
    });

    it("is a vote where two hosts are dead", () => {
      const dead = [hostGone("target"), hostGone("escrow")];
      expect(always({ on: "step", step: "restore-made" }, ...handedOver, ...dead)).toMatch(/two of the three hosts/);
    });
  });

  it("is none that the target's agent tells of, as long as only QEMU has said that it has completed", () => {
    const waits: readonly Trigger[] = [
      AT_30,
      { on: "step", step: "target-running" },
      { on: "transactions", count: 900 },
      { on: "step", step: "takeover" },
    ];
    expect(said({ on: "step", step: "completing" }, step("completed"))).toBeUndefined();
    for (const trigger of waits) {
      expect([trigger, said(trigger, step("completed"))]).toEqual([trigger, undefined]);
      expect(said(trigger, step("completed"), step("completing"))).toBeDefined();
    }
    // Nobody else would tell.
    const stock = hopelessTriggers([{ fault: CUT, at: AT_30 }], [started("stock"), step("completed")]);
    expect(stock[0]?.why).toMatch(/the target has every page$/);
  });

  it("is one of protection once the VM was restored, where it is protected no more", () => {
    expect(said({ on: "step", step: "record-stored" }, running("source"))).toMatch(
      /restored on source, and is protected no/,
    );
    const on = at("source", { kind: "protection", state: "on", why: "" });
    expect(said({ on: "step", step: "record-stored" }, running("source"), on)).toBeUndefined();
  });

  it("is not called so because a migration was given up before anything was broken: it is asked for again", () => {
    const plans = [first];
    expect(hopelessTriggers(plans, [txsync, qemuGone("target")])).toEqual([]);
    expect(hopelessTriggers(plans, [txsync, qemuGone("target"), qemuUp("target")])).toEqual([]);
  });

  it("takes with it whatever waits for its fault, and what waits for that", () => {
    const plans: FaultPlan[] = [
      first,
      { fault: CUT, at: { on: "step", step: "takeover" } },
      { fault: CUT, at: { on: "fault", index: 1, after_ms: 5 }, heal: { on: "fault", index: 2, after_ms: 1 } },
      { fault: CUT, at: { on: "healed", index: 2 } },
    ];
    const found = hopelessTriggers(plans, [txsync, injected(0), hostGone("target")]);
    expect(found.map(({ index, waits }) => [index, waits])).toEqual([
      [1, "to strike"],
      [2, "to strike"],
      [3, "to strike"],
    ]);
    expect(found[2]?.why).toContain(
      "fault 2 cannot strike any more: fault 1 cannot strike any more: the target's host",
    );
  });

  it("is found where a fault waits to be healed", () => {
    const plan = (heal: Trigger): readonly FaultPlan[] => [{ fault: CUT, at: AT_30, heal }];
    const by = (heal: Trigger, ...events: TimelineEvent[]): string | undefined =>
      hopelessTriggers(plan(heal), [txsync, step("switchover"), injected(0), ...events])[0]?.why;
    expect(by({ on: "step", step: "switchover" })).toMatch(/is to be healed at "switchover".* before the fault struck/);
    expect(by({ on: "step", step: "completing" })).toBeUndefined();
    expect(by({ on: "step", step: "completing" }, hostGone("target"))).toMatch(/the target's host is dead$/);
    expect(by({ on: "fault", index: 0, after_ms: 1 }, hostGone("target"))).toBeUndefined();
    // Its own healing never comes by itself.
    expect(hopelessTriggers(plan({ on: "healed", index: 0 }), [txsync, injected(0), healed(0)])).toEqual([]);
  });

  it("is a step that counts only since a fault that never strikes", () => {
    const plans: FaultPlan[] = [first, { fault: CUT, at: { on: "step", step: "vote-asked", since: 0 } }];
    expect(hopelessTriggers(plans, [txsync])).toEqual([]);
    expect(hopelessTriggers(plans, [txsync, failed(0, "no such host")])[0]?.why).toMatch(
      /"vote-asked since fault 0", which cannot come any more: fault 0 did not strike/,
    );
  });

  it("is one that waits for something that nobody heals, or for itself", () => {
    const unhealed = [first, { fault: CUT, at: { on: "healed", index: 0 } }] as const;
    expect(hopelessTriggers(unhealed, [txsync])[0]?.why).toContain("fault 0 is not to be healed");
    const circle = [
      { fault: CUT, at: { on: "fault", index: 1 } },
      { fault: CUT, at: { on: "fault", index: 0 } },
    ] as const;
    expect(hopelessTriggers(circle, [txsync]).map(({ index }) => index)).toEqual([0, 1]);
  });

  it("no agent tells anything under stock", () => {
    const plans: FaultPlan[] = [{ fault: CUT, at: { on: "step", step: "takeover" } }];
    expect(hopelessTriggers(plans, [started("stock")])[0]?.why).toContain("no agent is there");
    const counting: FaultPlan[] = [{ fault: CUT, at: { on: "transactions", count: 3 } }];
    expect(hopelessTriggers(counting, [started("stock")])[0]?.why).toContain("no agent is there");
  });
});

describe("what has been seen", () => {
  it("no scenario of ours begins without hope", () => {
    for (const { faults, expect: expected } of EVERY_SCENARIO) {
      for (const recovery of ["stock", "txsync"] as const)
        if (expected[recovery] !== undefined) expect(hopelessTriggers(faults, [started(recovery)])).toEqual([]);
    }
  });

  it("only makes it worse, but for what strikes after all", () => {
    const roles = fc.constantFrom<HostRole>("source", "target", "escrow");
    const event = fc.oneof(
      roles.map(hostGone),
      fc.constantFrom<ProtocolStep>("precopy", "recovering", "completing").map(step),
      fc.constant(handoff),
      fc.constant(running("source")),
    );
    const plans: FaultPlan[] = [
      { fault: KILL, at: AT_30 },
      { fault: CUT, at: { on: "step", step: "takeover" } },
      { fault: CUT, at: { on: "step", step: "restore-started" } },
      { fault: CUT, at: { on: "fault", index: 1 } },
    ];
    fc.assert(
      fc.property(fc.array(event, { maxLength: 12 }), (events) => {
        const all = [txsync, step("switchover"), injected(0), ...events];
        let before: readonly number[] = [];
        for (let seen = 1; seen <= all.length; seen += 1) {
          const now = hopelessTriggers(plans, all.slice(0, seen)).map(({ index }) => index);
          expect(before.filter((index) => !now.includes(index))).toEqual([]);
          before = now;
        }
      }),
    );
  });
});
