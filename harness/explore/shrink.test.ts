import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { neverComes } from "../run/hopeless.ts";
import type { FaultPlan } from "../run/scenario.ts";
import { checkScenario } from "../run/scenario-schema.ts";
import { Coverage } from "./coverage.ts";
import { candidate, drawJob } from "./draw.ts";
import type { Job, Setting } from "./job.ts";
import { type Came, SHRINK, shrink, smallerThan, triesFor, without } from "./shrink.ts";

const SETTINGS: readonly Setting[] = (["txsync", "stock"] as const).flatMap((recovery) =>
  ["10.0", "7.2"].map((source) => ({
    recovery,
    guest: "integrity" as const,
    accel: "tcg" as const,
    qemus: { source, target: "10.0" },
    memory_mib: 128,
    txsync: {},
  })),
);
const FAILS: Came = { verdict: "lost", as_expected: false };
const HOLDS: Came = { verdict: "intact", as_expected: true };

describe("a schedule that is drawn", () => {
  it("is a function of its seed, a sound scenario, and of one to three faults", () => {
    fc.assert(
      fc.property(fc.nat(100_000), fc.nat(5), (seed, nth) => {
        const job = candidate(seed, nth, SETTINGS);
        expect(candidate(seed, nth, SETTINGS)).toEqual(job);
        checkScenario(job.scenario, "drawn");
        expect(neverComes(job.scenario.faults, job.recovery)).toBeUndefined();
        expect(job.scenario.faults.length).toBeGreaterThanOrEqual(1);
        expect(job.scenario.faults.length).toBeLessThanOrEqual(3);
      }),
      { numRuns: 300 },
    );
  });

  it("is of a VM that is protected before it migrates in a quarter, which never changes hosts by QEMU then", () => {
    const drawn = Array.from({ length: 400 }, (_, seed) => candidate(seed, 0, SETTINGS));
    const settings = drawn.filter(({ recovery }) => recovery === "txsync").map(({ txsync }) => txsync);
    const before = settings.filter(({ protect_before }) => protect_before);
    expect(before.length / settings.length).toBeGreaterThan(0.15);
    expect(before.length / settings.length).toBeLessThan(0.35);
    expect(before.every(({ switchover_by }) => switchover_by === undefined)).toBe(true);
    expect(settings.some(({ switchover_by }) => switchover_by === "qemu")).toBe(true);
  });

  it("brings a VM that is protected before it migrates to a restore by the loss of its host, and waits for no page", () => {
    const protect_before = { ...SETTINGS[0], recovery: "txsync" as const, txsync: { protect_before: true } } as Setting;
    for (let seed = 0; seed < 200; seed += 1) {
      const { scenario } = candidate(seed, 0, [protect_before], { steps: ["restore-*"] });
      expect(scenario.faults.some(({ at }) => at.on === "requests")).toBe(false);
      const restore = scenario.faults.findIndex(({ at }) => at.on === "step" && at.step.startsWith("restore-"));
      if (restore < 0) continue;
      const hosts = scenario.faults.slice(0, restore).map(({ fault }) => ("host" in fault ? fault.host : undefined));
      expect(hosts).toContain("source");
    }
  });

  it("of a VM that stays protected comes to the last vote by a restore, for there is no handoff that asks for it", () => {
    const always = { ...SETTINGS[0], recovery: "txsync" as const, txsync: { protect: "always" } } as Setting;
    for (let seed = 0; seed < 200; seed += 1) {
      const { faults } = candidate(seed, 0, [always], { steps: ["ownership-*"] }).scenario;
      const vote = faults.findIndex(({ at }) => at.on === "step" && at.step.startsWith("ownership-"));
      if (vote >= 0) expect(vote).toBeGreaterThan(0);
    }
  });

  it("waits for no step of a repair that is over: only where the VM was struck once more", () => {
    const RESTORE = ["restore-started", "restore-made", "restore-verified", "restore-finished", "restore-running"];
    let again = 0;
    for (let seed = 0; seed < 3_000; seed += 1) {
      const { faults } = candidate(seed, 0, SETTINGS).scenario;
      const steps = faults.map(({ at }) => (at.on === "step" ? RESTORE.indexOf(at.step) : -1));
      for (const [i, step] of steps.entries()) {
        const before = Math.max(-1, ...steps.slice(0, i));
        if (step < 0 || before < step) continue;
        const struck = faults[i - 1]?.fault;
        expect(struck?.fault).toMatch(/^(kill|detach|freeze)-host$|^kill-process$/);
        again += 1;
      }
    }
    expect(again).toBeGreaterThan(0);
  });

  it("is the one of its seed's that was seen least", () => {
    const coverage = new Coverage();
    const first = drawJob(1, SETTINGS, coverage);
    for (let turn = 0; turn < 50; turn += 1)
      coverage.add({
        recovery: first.recovery,
        steps: [],
        struck: first.scenario.faults.map(
          ({ fault, at }) => `${fault.fault} at ${at.on === "step" ? at.step : "target-running"}`,
        ),
        paths: [],
      });
    expect(drawJob(1, SETTINGS, coverage).scenario.id).not.toBe(first.scenario.id);
  });
});

describe("what fails is made smaller", () => {
  const killsEscrow = (job: Job): boolean =>
    job.scenario.faults.some(({ fault }) => fault.fault === "kill-host" && fault.host === "escrow");
  const job = (() => {
    for (let seed = 0; seed < 5_000; seed += 1) {
      const drawn = candidate(seed, 0, SETTINGS.slice(0, 2));
      if (drawn.scenario.faults.length === 3 && killsEscrow(drawn) && Object.keys(drawn.txsync).length > 0)
        return drawn;
    }
    throw new Error("no such schedule");
  })();

  it("down to the one fault that it takes, with usual settings, whatever else was drawn", async () => {
    const { job: smallest, failed, runs } = await shrink(job, FAILS, async (one) => (killsEscrow(one) ? FAILS : HOLDS));
    expect(smallest.scenario.faults.map(({ fault }) => fault)).toEqual([{ fault: "kill-host", host: "escrow" }]);
    expect(smallest.txsync).toEqual({});
    expect(failed).toBe(runs);
  });

  it("is left as it is where it does not fail again: that was chance, as far as can be told", async () => {
    const { job: left, failed, runs, spent } = await shrink(job, FAILS, async () => HOLDS);
    expect([left, failed, runs, spent]).toEqual([job, 1, SHRINK.tries_min + 1, SHRINK.tries_min]);
  });

  it("takes no other failure for the same", async () => {
    const other: Came = { verdict: "corrupt", as_expected: false };
    const { job: left } = await shrink(job, FAILS, async (one) => (one === job ? FAILS : other));
    expect(left).toBe(job);
  });

  it("ends within its bound of runs, however it comes out", async () => {
    let turn = 0;
    const { spent } = await shrink(job, FAILS, async () => {
      turn += 1;
      return turn % 3 === 0 ? FAILS : HOLDS;
    });
    expect(spent).toBeLessThanOrEqual(SHRINK.runs_max);
  });

  it("tries a rare failure oftener", () => {
    expect(triesFor(1, SHRINK)).toBe(3);
    expect(triesFor(0.5, SHRINK)).toBe(5);
    expect(triesFor(0.1, SHRINK)).toBe(SHRINK.tries_max);
  });
});

it("whatever is taken away, what is left is a sound scenario", () => {
  fc.assert(
    fc.property(fc.nat(100_000), (seed) => {
      for (const { job } of smallerThan(candidate(seed, 0, SETTINGS))) checkScenario(job.scenario, "smaller");
    }),
    { numRuns: 200 },
  );
});

it("who waited for a fault that is gone waits for what that waited for", () => {
  const kill = { fault: "kill-host", host: "target" } as const;
  const plans: readonly FaultPlan[] = [
    { fault: kill, at: { on: "pages", percent: 7 } },
    { fault: kill, at: { on: "fault", index: 0, after_ms: 5 } },
    { fault: kill, at: { on: "step", step: "vote-asked", since: 1 } },
  ];
  expect(without(plans, 0)?.map(({ at }) => at)).toEqual([
    { on: "pages", percent: 7 },
    { on: "step", step: "vote-asked", since: 0 },
  ]);
});
