import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { SCENARIOS } from "../../scenarios/index.ts";
import type { HostRole } from "../base/timeline.ts";
import type { FaultPlan, Trigger } from "../run/scenario.ts";
import { STEP_NAMES, type StepName, stepOf } from "../run/steps.ts";
import { settingsFor } from "../run/txsync/settings.ts";
import { allowedOf, type ModelWorld, PHASES, USUAL_WORLD, windowOf } from "./model.ts";

const STOCK: ModelWorld = { ...USUAL_WORLD, recovery: "stock" };
const PROTECTED: ModelWorld = { ...USUAL_WORLD, protect_before: true, switchover_by: "agent" };
const AT_30: Trigger = { on: "pages", percent: 30 };

const kill = (host: HostRole, at: Trigger = AT_30): FaultPlan => ({ fault: { fault: "kill-host", host }, at });
const killQemu = (host: HostRole, at: Trigger = AT_30): FaultPlan => ({
  fault: { fault: "kill-process", host, process: "qemu" },
  at,
});

function verdicts(plans: readonly FaultPlan[], world: ModelWorld = USUAL_WORLD): readonly string[] {
  return allowedOf(plans, world).verdicts;
}

describe("what scenarios expect is allowed", () => {
  it.each(SCENARIOS.filter(({ protect }) => protect === undefined).map((scenario) => [scenario.id, scenario] as const))(
    "%s",
    (_, { faults, expect: expected, txsync }) => {
      const { base_ahead, protect, protect_before, lease_ms } = settingsFor(128 * 1024 ** 2, txsync);
      const world = { ...USUAL_WORLD, base_ahead, protect, protect_before, lease_ms };
      if (expected.txsync !== undefined) expect(verdicts(faults, world)).toContain(expected.txsync);
      // Of a VM that is protected before it migrates nothing is left to chance.
      if (protect_before) expect(verdicts(faults, world)).toEqual([expected.txsync]);
      if (expected.stock !== undefined) expect(verdicts(faults, STOCK)).toContain(expected.stock);
    },
  );
});

describe("the model is no excuse: it demands that the VM comes back", () => {
  it.each<readonly [string, readonly FaultPlan[]]>([
    ["nothing", []],
    ["the target's host dies", [kill("target")]],
    ["the target's QEMU dies", [killQemu("target")]],
    ["the source's host dies when others have its memory", [kill("source", { on: "pages", percent: 60 })]],
    ["the escrow's host dies", [kill("escrow")]],
    ["the link is cut for good", [{ fault: { fault: "cut-reset", link: "source-target" }, at: AT_30 }]],
    ["the target is cut off for good", [{ fault: { fault: "detach-host", host: "target" }, at: AT_30 }]],
    [
      "its QEMU dies, and its host during the repair",
      [killQemu("target"), kill("target", { on: "step", step: "restore-started" })],
    ],
    [
      "the target's host dies, and the escrow's agent is away for a while during the repair",
      [
        kill("target"),
        {
          fault: { fault: "kill-process", host: "escrow", process: "agent" },
          at: { on: "step", step: "restore-started" },
        },
      ],
    ],
  ])("%s", (_, plans) => {
    expect(verdicts(plans)).toEqual(["intact"]);
  });
});

describe("it allows no more than has to be", () => {
  it.each<readonly [string, readonly FaultPlan[]]>([
    ["escrow and target die", [kill("escrow"), kill("target", { on: "fault", index: 0, after_ms: 50 })]],
    ["the source's host dies before others are known to have its memory", [kill("source")]],
    ["all three die", [kill("escrow"), kill("target"), kill("source")]],
    [
      "the source's QEMU dies before it has sent anything, or after",
      [killQemu("source", { on: "step", step: "precopy" })],
    ],
  ])("the VM may be lost where %s, and nothing worse", (_, plans) => {
    expect(verdicts(plans)).toContain("lost");
    expect(verdicts(plans)).not.toContain("corrupt");
  });

  it("never allows a wrong VM, two, or one that is behind under txsync, whatever breaks", () => {
    fc.assert(
      fc.property(schedule, (plans) => {
        const found = verdicts(plans);
        expect(found.length).toBeGreaterThan(0);
        for (const verdict of found) expect(["intact", "lost"]).toContain(verdict);
      }),
    );
  });

  it("demands that it runs where nothing is dead and everything is healed", () => {
    fc.assert(
      fc.property(fc.array(harmless, { minLength: 1, maxLength: 3 }), (plans) => {
        expect(verdicts(plans)).toEqual(["intact"]);
      }),
    );
  });

  it("allows with a further fault whatever it allowed without it where that one may strike last and does nothing", () => {
    fc.assert(
      fc.property(fc.array(anyFault, { minLength: 1, maxLength: 2 }), (plans) => {
        const without = verdicts(plans);
        const nothing: FaultPlan = {
          fault: { fault: "latency", link: "source-target", latency_ms: 1, jitter_ms: 0 },
          at: { on: "step", step: "lease-lost" },
          heal: { on: "fault", index: plans.length, after_ms: 1_000 },
        };
        expect(verdicts([...plans, nothing])).toEqual(expect.arrayContaining([...without]));
      }),
    );
  });

  it("under stock promises nothing where a side dies in post-copy", () => {
    expect(verdicts([kill("source")], STOCK)).toEqual(["lost"]);
    expect(verdicts([killQemu("target")], STOCK)).toEqual(["lost"]);
    expect(verdicts([], STOCK)).toEqual(["intact"]);
    expect(verdicts([], { ...STOCK, qemus: [11.1, 11.1] })).toEqual(["intact", "corrupt"]);
  });
});

describe("what becomes of a paused post-copy hangs on who manages it", () => {
  const cut = (fault: "cut-reset" | "cut-silent", after_ms?: number): FaultPlan => ({
    fault:
      fault === "cut-reset" ? { fault, link: "source-target" } : { fault, link: "source-target", direction: "both" },
    at: AT_30,
    ...(after_ms === undefined ? {} : { heal: { on: "fault", index: 0, after_ms } }),
  });
  const old: ModelWorld = { ...STOCK, qemus: [7.2, 7.2] };

  it.each<readonly [string, ModelWorld, FaultPlan, readonly string[]]>([
    ["qmp resumes what was reset", { ...STOCK, manager: "qmp" }, cut("cut-reset", 1_000), ["intact"]],
    ["none does not", { ...STOCK, manager: "none" }, cut("cut-reset", 1_000), ["lost"]],
    ["libvirt does not", { ...STOCK, manager: "libvirt" }, cut("cut-reset", 1_000), ["lost"]],
    ["an operator of libvirt 11.3 cannot", { ...STOCK, manager: "libvirt:resume" }, cut("cut-reset", 1_000), ["lost"]],
    ["of 9.0 can", { ...old, manager: "libvirt:resume" }, cut("cut-reset", 1_000), ["intact", "lost"]],
    ["silence that ends nobody has to resume", { ...STOCK, manager: "libvirt" }, cut("cut-silent", 1_000), ["intact"]],
    ["silence that does not end", { ...STOCK, manager: "libvirt" }, cut("cut-silent"), ["lost"]],
  ])("%s", (_, world, plan, found) => {
    expect(verdicts([plan], world)).toEqual(found);
  });

  it("a daemon that dies in post-copy takes no VM with it; before, the migration may be given up with the VM", () => {
    const kills = (at: Trigger): FaultPlan => ({
      fault: { fault: "kill-manager", host: "target", part: "daemon" },
      at,
    });
    expect(verdicts([kills(AT_30)], { ...STOCK, manager: "libvirt" })).toEqual(["intact"]);
    expect(verdicts([kills({ on: "step", step: "setup" })], { ...STOCK, manager: "libvirt" })).toContain("lost");
  });
});

describe("a VM that is protected where it runs before it is asked to migrate", () => {
  const at = (step: StepName, after_ms?: number): Trigger => ({
    on: "step",
    step,
    ...(after_ms === undefined ? {} : { after_ms }),
  });
  const since = (index: number, after_ms: number): Trigger => ({ on: "fault", index, after_ms });
  const cut = (link: "source-target" | "source-escrow" | "target-escrow", when: Trigger): FaultPlan => ({
    fault: { fault: "cut-silent", link, direction: "both" },
    at: when,
  });
  const detach = (host: HostRole, when: Trigger): FaultPlan => ({ fault: { fault: "detach-host", host }, at: when });
  const escrowAway = (when: Trigger, after_ms: number): FaultPlan => ({
    fault: { fault: "kill-process", host: "escrow", process: "agent", stays_away: true },
    at: when,
    heal: { on: "fault", index: 0, after_ms },
  });
  const hold: ModelWorld = { ...PROTECTED, unprotected: "hold" };

  /** From the first record on; what comes of it in another way is not a first fault's. */
  const ON: readonly Trigger[] = [
    ...(["record-stored", "transaction-committed", "output-released", "protection-on"] as const).map((step) =>
      at(step),
    ),
    ...(["setup", "precopy", "switchover", "target-running"] as const).map((step) => at(step)),
    ...[1, 2, 3, 8].map((count): Trigger => ({ on: "transactions", count })),
    ...[1, 30, 60, 95].map((percent): Trigger => ({ on: "pages", percent })),
    at("ownership-asked"),
    at("protection-on", 200),
    at("precopy", 700),
    at("switchover", 200),
  ];
  /** Protection is asked for, and nobody has said that it is on. */
  const NOT_YET = ["base-covered", "transaction-taken", "record-half-sent", "generation-opened", "vote-asked"] as const;

  it.each(ON)(
    "outlives the host on which it runs first, and any one loss of another: $on $step $count $percent",
    (when) => {
      expect(verdicts([kill("source", when)], PROTECTED)).toEqual(["intact"]);
      expect(verdicts([detach("source", when)], PROTECTED)).toEqual(["intact"]);
      for (const one of [killQemu("source", when), kill("escrow", when), detach("escrow", when)]) {
        expect(verdicts([one], PROTECTED)).toEqual(["intact"]);
        expect(verdicts([one], hold)).toEqual(["intact"]);
      }
      for (const link of ["source-target", "source-escrow", "target-escrow"] as const)
        expect(verdicts([cut(link, when)], PROTECTED)).toEqual(["intact"]);
    },
  );

  it.each(["setup", "precopy", "switchover", "target-running", "protection-on", "record-stored"] as const)(
    "goes on where it is, or is made again there, when the target is lost at %s",
    (step) => {
      for (const one of [kill("target", at(step)), killQemu("target", at(step)), detach("target", at(step))])
        expect(verdicts([one], PROTECTED)).toEqual(["intact"]);
    },
  );

  it.each(NOT_YET)("may be lost with its host before its protection is on: %s", (step) => {
    expect(verdicts([kill("source", at(step))], PROTECTED)).toEqual(["intact", "lost"]);
    expect(verdicts([killQemu("source", at(step))], PROTECTED)).toEqual(["intact", "lost"]);
    // A host that only stands by may be lost at any time.
    expect(verdicts([kill("target", at(step))], PROTECTED)).toEqual(["intact"]);
    expect(verdicts([kill("escrow", at(step))], PROTECTED)).toEqual(["intact"]);
  });

  it("is as any other by itself: without the setting it dies with its host", () => {
    expect(verdicts([kill("source", at("precopy"))], { ...PROTECTED, protect_before: false })).toContain("lost");
  });

  it("is lost with its host when those that are left do not talk, or are not two", () => {
    const gone = kill("source", since(0, 3_000));
    expect(verdicts([kill("target", at("protection-on")), gone], PROTECTED)).toEqual(["lost"]);
    expect(verdicts([kill("escrow", at("protection-on")), gone], PROTECTED)).toContain("lost");
    expect(verdicts([cut("target-escrow", at("protection-on")), gone], PROTECTED)).toContain("lost");
    expect(verdicts([kill("source", at("protection-on")), kill("target", since(0, 3_000))], PROTECTED)).toEqual([
      "lost",
    ]);
  });

  it("once restored on the target it needs nobody any more", () => {
    const plans = [kill("source", at("precopy")), kill("escrow", { ...at("restore-running"), since: 0 } as Trigger)];
    expect(verdicts(plans, PROTECTED)).toContain("intact");
  });

  it("may be lost while the escrow is not heard, unless its output waits; and not once that has been back for a while", () => {
    const gone = (after_ms: number): FaultPlan => kill("source", since(0, after_ms));
    const away = escrowAway(at("protection-on"), 3_000);
    expect(verdicts([away, gone(1_500)], PROTECTED)).toEqual(["intact", "lost"]);
    expect(verdicts([away, gone(1_500)], hold)).toEqual(["intact"]);
    expect(verdicts([away, kill("source", { on: "healed", index: 0, after_ms: 2_500 })], PROTECTED)).toEqual([
      "intact",
    ]);
  });

  it("outlives whatever strikes it alone once its protection is on", () => {
    fc.assert(
      fc.property(anyFault, fc.constantFrom(...ON.filter(({ on }) => on === "step")), ({ fault }, when) => {
        // A target that is lost when it has been handed the VM takes it along: that is another matter.
        const after = when.after_ms !== undefined || (when.on === "step" && when.step.startsWith("ownership"));
        fc.pre(!after || !("host" in fault) || fault.host !== "target");
        expect(verdicts([{ fault, at: when }], PROTECTED)).toEqual(["intact"]);
      }),
    );
  });

  it("is never wrong, nor there twice, nor behind, at whatever step what strikes", () => {
    const step = fc.constantFrom(...STEP_NAMES.filter((name) => stepOf(name).under !== "stock"));
    const fault = fc.tuple(anyFault, step).map(([plan, name]): FaultPlan => ({ ...plan, at: at(name) }));
    fc.assert(
      fc.property(fc.array(fault, { minLength: 1, maxLength: 3 }), fc.boolean(), (plans, always) => {
        const world: ModelWorld = { ...PROTECTED, protect: always ? "always" : "until-handoff" };
        const found = verdicts(plans, world);
        expect(found.length).toBeGreaterThan(0);
        for (const verdict of found) expect(["intact", "lost"]).toContain(verdict);
      }),
    );
  });

  it("runs where nothing is dead and everything is healed", () => {
    fc.assert(
      fc.property(fc.array(harmless, { minLength: 1, maxLength: 3 }), fc.boolean(), (plans, go) => {
        expect(verdicts(plans, go ? PROTECTED : hold)).toEqual(["intact"]);
      }),
    );
  });
});

it("knows that a later trigger does not come in an earlier phase", () => {
  fc.assert(
    fc.property(anyFault, ({ at }) => {
      const { from, to } = windowOf(at, [kill("target", at)], USUAL_WORLD);
      expect(PHASES.indexOf(from)).toBeLessThanOrEqual(PHASES.indexOf(to));
    }),
  );
});

const role = fc.constantFrom<HostRole>("source", "target", "escrow");
const link = fc.constantFrom("source-target", "source-escrow", "target-escrow");
const moment: fc.Arbitrary<Trigger> = fc.oneof(
  fc.integer({ min: 1, max: 100 }).map((percent): Trigger => ({ on: "pages", percent })),
  fc
    .constantFrom(
      "setup",
      "precopy",
      "switchover",
      "target-running",
      "completing",
      "record-stored",
      "handoff",
      "lease-lost",
    )
    .map((step): Trigger => ({ on: "step", step })),
  fc.integer({ min: 1, max: 9 }).map((count): Trigger => ({ on: "transactions", count })),
);
const anyFault: fc.Arbitrary<FaultPlan> = fc.oneof(
  fc.record({ fault: role.map((host) => ({ fault: "kill-host" as const, host })), at: moment }),
  fc.record({
    fault: fc.record({
      fault: fc.constant("kill-process" as const),
      host: role,
      process: fc.constantFrom("qemu", "agent"),
    }),
    at: moment,
  }),
  fc.record({ fault: link.map((one) => ({ fault: "cut-reset" as const, link: one })), at: moment }),
  fc.record({ fault: role.map((host) => ({ fault: "detach-host" as const, host })), at: moment }),
);
const schedule = fc.array(anyFault, { minLength: 1, maxLength: 3 });
/** Whatever it is, it is over after some seconds, and nothing died. */
const harmless: fc.Arbitrary<FaultPlan> = fc
  .record({
    fault: fc.oneof(
      link.map((one) => ({ fault: "cut-reset" as const, link: one })),
      role.map((host) => ({ fault: "freeze-host" as const, host })),
      role.map((host) => ({ fault: "detach-host" as const, host })),
      role.map((host) => ({ fault: "kill-process" as const, host, process: "agent" as const })),
    ),
    at: moment,
    after_ms: fc.integer({ min: 1, max: 4_000 }),
  })
  .map(({ fault, at, after_ms }) => ({ fault, at, heal: { on: "fault", index: 0, after_ms } }));
