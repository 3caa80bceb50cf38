import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { SCENARIOS } from "../../scenarios/index.ts";
import type { HostRole } from "../base/timeline.ts";
import type { FaultPlan, Trigger } from "../run/scenario.ts";
import { DEFAULT_TXSYNC } from "../run/txsync/settings.ts";
import { allowedOf, type ModelWorld, PHASES, USUAL_WORLD, windowOf } from "./model.ts";

const STOCK: ModelWorld = { ...USUAL_WORLD, recovery: "stock" };
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
      const { base_ahead, protect, lease_ms } = { ...DEFAULT_TXSYNC, ...txsync };
      if (expected.txsync !== undefined)
        expect(verdicts(faults, { ...USUAL_WORLD, base_ahead, protect, lease_ms })).toContain(expected.txsync);
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
